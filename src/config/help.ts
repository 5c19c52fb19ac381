import {
  fileFlagOf,
  GROUPS,
  type OptionRow,
  type OptionRows,
  type OptionTable,
  rowsOf,
  variableOf,
} from './table.js';
import { FORWARD, HEALTH, MANIFEST, SERVE } from './tables.js';

/** Width that the help is wrapped to, in characters. */
const WIDTH = 100;
const INDENT = 34;

/** `spliceway serve --help`, from the table of options. */
export function serveHelp(): string {
  return help(SERVE, {
    begin: `Without options: listens on 0.0.0.0:3128, invents credentials, allows every host at ports 443 and
6443 but no special-purpose address, and prints what to paste.
`,
    lists: 'Several values of a variable stand on lines\nof their own (user) or between blanks. ',
    end: `
RULE is HOST_PATTERN[:PORTS]:
  dvm-*.apps.target.example:443   names; * stands for letters of one label
  *.corp.example:443,6443         every name below corp.example
  10.0.0.0/8:30000-32767          addresses, also those that a name resolves to
  [2001:db8::]/32:443             IPv6 in brackets
  127.0.0.0/8:*                   only a rule that names addresses opens a special-purpose range
Without :PORTS a rule means 443,6443.

WAY is one of these; credentials are percent-encoded, a comma in them is %2C:
  http://[USER:PASSWORD@]HOST:PORT   a proxy that takes CONNECT; https:// for one inside TLS
  socks5h://[USER:PASSWORD@]HOST     SOCKS that resolves names, as socks4a:// does; with socks5://
                                     and socks4:// they are resolved here
  pac+file:///PATH, pac+http://URL   a PAC file; also pac+https://
  env                                HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY
  direct                             no proxy
  --parent '*.corp.example:*=direct' --parent http://a.example:3128,http://b.example:3128
A rule in front of a way fits addresses as they are written: no name is resolved for it.
`,
  });
}

/** `spliceway forward --help`, from the table of options. */
export function forwardHelp(): string {
  return help(FORWARD, {
    begin: `Leads a local port to one target through another proxy, for programs that cannot CONNECT. Every
connection becomes a tunnel of its own, and its bytes are left alone. Where there is no way to the
target, the connection is reset, and the log says why.

  spliceway forward --listen 127.0.0.1:6443 --target api.target.example:6443 \\
    --parent http://user:password@proxy.example:3128
  kubectl --server https://127.0.0.1:6443 --tls-server-name api.target.example get nodes

  export SPLICEWAY_PARENT=http://user:password@proxy.example:3128    # and ps does not show it
  spliceway forward --listen 127.0.0.1:8730 --target backup.example:873
  rsync -a rsync://127.0.0.1:8730/module/ copy/
`,
    lists: 'Several values of a variable stand\nbetween blanks. ',
    end: `
Whoever reaches the port reaches the target, with the parent's credentials: leave it on loopback, or
let a firewall decide.
`,
  });
}

/** `spliceway manifest --help`, from the table of options. `parts` is what may stand before the options, a line each. */
export function manifestHelp(parts: string): string {
  return help(MANIFEST, {
    begin: `Prints what a migration through spliceway needs, ready for kubectl apply -f -, each object with a
line that says what it is for. PART is what to print, and where it goes:

${parts}
Without PART: proxy. One file for all of them:

  spliceway manifest inventory > migration.yaml      # with a password of its own; edit it
  spliceway manifest proxy --inventory migration.yaml | kubectl --context proxy apply -f -
  spliceway manifest source --inventory migration.yaml | kubectl --context source apply -f -
`,
    lists: 'Several values of a variable stand\nbetween blanks; modes are flags alone. ',
    end: '',
    exits: 'Exit code: 0 printed, or no mistake found by --lint; 1 mistakes found, or failed; 64 wrong use.',
  });
}

/** `spliceway health --help`, from the table of options. */
export function healthHelp(): string {
  return help(HEALTH, {
    begin: `Asks a proxy that runs on the same machine, or in the same container, for /live: a health check for
images that have neither curl nor a shell. With the variables and the file that the proxy has, it
finds the admin listener by itself; of all their options it reads only those below. A proxy that
drains lives: it still has tunnels. Only /ready says that it takes no new ones.

  HEALTHCHECK CMD ["spliceway", "health"]
  docker exec CONTAINER spliceway health

Kubernetes' probes ask the admin listener themselves (httpGet) and do not need it.
`,
    lists: '',
    end: '',
    exits: 'Exit code: 0 it lives, 1 it does not (standard error says why, in one line), 64 wrong use.',
  });
}

const SERVICE_EXITS = `Signals: SIGTERM, SIGINT and SIGHUP drain; a second one cuts at once.
Exit code: 0 drained, 1 cut or failed, 64 wrong use.`;

function help<R extends OptionRows>(
  table: OptionTable<R>,
  text: { readonly begin: string; readonly lists: string; readonly end: string; readonly exits?: string },
): string {
  const rows = rowsOf(table).map(([, row]) => row);
  const example = ['idle-timeout', 'drain-timeout', 'health-timeout'].find((name) =>
    rows.some((row) => row.name === name),
  );
  if (example === undefined) throw new Error('no option of it is a good example');
  const groups = GROUPS.filter((group) => rows.some((row) => row.group === group)).map(
    (group) =>
      `${group}:\n${rows
        .filter((row) => row.group === group)
        .map(helpOf)
        .join('')}`,
  );
  return `Usage: ${table.command}${table.takesWords ? ' [PART...]' : ''} [OPTIONS]

${text.begin}
${helpLine(`--${fileFlagOf(table)} FILE`, 'Read options from a YAML file, keyed like the flags without --.')}
${groups.join('\n')}
Every option is also a variable, ${variableOf(example)} for --${example}, and a key of the
file. Flags win over variables, variables over the file. ${text.lists}TIME is like 500ms, 30s, 5m, 1h30m, 2d.
${text.end}
${text.exits ?? SERVICE_EXITS}
`;
}

function helpOf(row: OptionRow<unknown>): string {
  const notes = [
    ...(row.required === undefined ? [] : ['required']),
    ...(row.repeatable === undefined ? [] : ['repeatable']),
    ...(row.default === undefined || row.placeholder === undefined ? [] : [`default ${row.default}`]),
  ];
  return helpLine(
    `--${row.name}${row.placeholder === undefined ? '' : ` ${row.placeholder}`}`,
    row.help,
    notes.length === 0 ? undefined : `[${notes.join('; ')}]`,
  );
}

/** A flag, what it does, and a note that stays in one piece; wrapped. */
function helpLine(flag: string, help: string, note?: string): string {
  const lines: string[] = [];
  for (const word of [...help.split(' '), ...(note === undefined ? [] : [note])]) {
    const line = lines.at(-1);
    if (line !== undefined && line.length + word.length < WIDTH - INDENT)
      lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  const head = `      ${flag}`;
  const indent = ' '.repeat(INDENT);
  const text = lines.join(`\n${indent}`);
  return head.length < INDENT - 1 ? `${head.padEnd(INDENT)}${text}\n` : `${head}\n${indent}${text}\n`;
}
