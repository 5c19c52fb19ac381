import { isIPv4 } from 'node:net';
import type { Config, OptionKey } from './options.js';
import { OPTION_ROWS, readConfigFile, readFlags, readVariables } from './sources.js';

/** The options hold mistakes: all of them. The command line exits 64 (`EX_USAGE` of sysexits(3)). */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    const count = problems.length === 1 ? 'one problem' : `${problems.length} problems`;
    super(`${count} with the options:\n${problems.map((problem) => `  ${problem}\n`).join('')}`);
    this.problems = problems;
  }
}

/** A configuration, and what is odd about it without being wrong. */
export interface Loaded {
  readonly config: Config;
  /** Sentences for the log; none holds a secret. */
  readonly warnings: readonly string[];
}

/**
 * Reads flags over environment over file (`--config FILE` or `SPLICEWAY_CONFIG`) over defaults. What a stronger source gives replaces
 * what a weaker one gives, lists included.
 *
 * @param argv without the command
 * @throws ConfigError with every problem of every source
 */
export function loadConfig(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Loaded {
  const problems: string[] = [];
  const warnings: string[] = [];
  const flags = readFlags(argv, problems);
  const variables = readVariables(env, warnings);
  const path = flags.configFile ?? variables.configFile;
  const file = path === undefined ? {} : readConfigFile(path, problems);
  const values: Partial<Record<OptionKey, unknown>> = {};
  const broken = new Set<OptionKey>();
  for (const [key, row] of OPTION_ROWS) {
    const byDefault = row.default === undefined ? [] : [{ text: row.default, where: 'default' }];
    const given = flags.source[key] ?? variables.source[key] ?? file[key] ?? byDefault;
    const parsed = given.flatMap(({ text, where }) => {
      const { value, problem } = row.parse(text);
      if (problem === undefined) return [value];
      broken.add(key);
      problems.push(`${where}${row.secret ? '' : ` ${JSON.stringify(text)}`} ${problem}`);
      return [];
    });
    values[key] = row.repeatable === undefined ? parsed.at(-1) : parsed;
  }
  const config = values as Config; // The loop gave every key what its row parses to, or it is broken.
  for (const { between, find } of CONTRADICTIONS)
    if (!between.some((key) => broken.has(key))) problems.push(...find(config));
  if (problems.length > 0) throw new ConfigError(problems);
  if (flags.source.user !== undefined || flags.source.password !== undefined) {
    warnings.push(
      'credentials on the command line are visible to everybody on this machine (ps); use SPLICEWAY_USERNAME and SPLICEWAY_PASSWORD',
    );
  }
  return { config, warnings };
}

/** What only several options together tell. A row is looked at where none of its options has a problem of its own. */
const CONTRADICTIONS: readonly {
  readonly between: readonly OptionKey[];
  readonly find: (config: Config) => readonly string[];
}[] = [
  {
    between: ['username', 'password'],
    find: ({ username, password }) =>
      (username === undefined) === (password === undefined)
        ? []
        : ['--username and --password go together (SPLICEWAY_USERNAME and SPLICEWAY_PASSWORD)'],
  },
  {
    between: ['noAuth', 'user', 'username'],
    find: ({ noAuth, user, username }) =>
      noAuth && (user.length > 0 || username !== undefined)
        ? ['--no-auth contradicts --user, --username and --password: give one or the other']
        : [],
  },
  {
    between: ['noAuth', 'listen'],
    find({ noAuth, listen }) {
      const open = listen.filter(({ host }) => !isLoopback(host)).map(({ host }) => host);
      return noAuth && open.length > 0
        ? [
            `--no-auth needs every --listen on loopback (127.0.0.1, [::1]), but ${open.join(', ')} can be reached from outside: anybody could tunnel`,
          ]
        : [];
    },
  },
  {
    between: ['listen', 'admin'],
    find({ listen, admin }) {
      const all = [...listen, ...(admin === 'off' ? [] : [admin])].filter(({ port }) => port !== 0);
      const names = all.map(({ host, port }) => `${host} port ${port}`);
      const twice = new Set(names.filter((name, at) => names.indexOf(name) !== at));
      return [...twice].map((name) => `${name} is to be listened on twice`);
    },
  },
  {
    between: ['dialRetry', 'dialTimeout'],
    find: ({ dialRetry, dialTimeout }) =>
      dialRetry < dialTimeout
        ? []
        : ['--dial-retry must be shorter than --dial-timeout, which covers it: raise --dial-timeout'],
  },
];

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
}
