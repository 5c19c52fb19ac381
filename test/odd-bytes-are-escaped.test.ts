import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { printable } from '../src/reasons.js';
import { CLI } from './fixtures/proxy.js';
import { connectRaw, readToEnd } from './fixtures/sockets.js';

/** What a log or a terminal may be shown: visible ASCII and the ends of lines. */
const HARMLESS = /^[\x20-\x7e\n]*$/;

/** A user whose name holds what configurations may hold: quotes, a backslash, letters of two alphabets, a change of direction, a line separator. */
const ODD_USER = 'jürgen"\\\u202eгость\u2028';
const PASSWORD = 'password';
const AUTHORIZATION = `Proxy-Authorization: Basic ${base64(`${ODD_USER}:${PASSWORD}`)}\r\n`;

const ALL_BYTES = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte));

/** Where a client's words go, with the bytes put into each; latin1 on the wire. */
const PLACES: Readonly<Record<string, (bytes: string) => string>> = {
  'the host': (bytes) => request({ target: `ho${bytes}st.test:443` }),
  'the port': (bytes) => request({ target: `host.test:4${bytes}43` }),
  'the brackets': (bytes) => request({ target: `[::1${bytes}]:443` }),
  'the user information of a target': (bytes) => request({ target: `u${bytes}@host.test:443` }),
  'the method': (bytes) => request({}).replace('CONNECT', `BR${bytes}EW`),
  'the version': (bytes) => request({ version: `HTTP/1.1${bytes}` }),
  'the name of a field': (bytes) => request({ field: `Na${bytes}me: value` }),
  'the agent of a refused request': (bytes) =>
    request({ field: `User-Agent: ag${bytes}ent`, target: 'host.test:9' }),
  'the agent of an allowed request': (bytes) => request({ field: `User-Agent: ag${bytes}ent` }),
  'the name of an unknown user': (bytes) =>
    request({}).replace(AUTHORIZATION, `Proxy-Authorization: Basic ${base64(`us${bytes}er:x`)}\r\n`),
  'the credentials as they are': (bytes) =>
    request({}).replace(AUTHORIZATION, `Proxy-Authorization: Basic ${bytes}\r\n`),
};

for (const format of ['json', 'pretty'] as const) {
  t.test(`whatever bytes a client sends, answers and the ${format} log are visible ASCII`, async (t) => {
    const proxy = await start(t, format);
    for (const [place, requestWith] of Object.entries(PLACES)) {
      await t.test(place, async (t) => {
        for (const byte of ALL_BYTES) {
          const answer = await ask(t, proxy.port, requestWith(byte));
          const what = JSON.stringify(byte);
          if (!/^HTTP\/1\.1 [45][0-9]{2} [a-z0-9_]+: /.test(answer)) t.fail(`${what}: ${answer}`);
          if (!HARMLESS.test(answer.replaceAll('\r\n', '\n'))) t.fail(`${what} in the answer`);
          if (answer.match(/^HTTP\//gm)?.length !== 1) t.fail(`${what} splits the answer`);
        }
        t.pass('all 256 bytes');
      });
    }
    proxy.child.kill('SIGTERM');
    await once(proxy.child, 'close');
    const written = proxy.log();
    t.match(written, 'refused');
    const lines = written.split('\n');
    t.same(lines.filter((line) => !HARMLESS.test(line)).slice(0, 2), [], 'no line with anything else in it');
    if (format === 'json') {
      t.doesNotThrow(() => lines.filter(Boolean).map((line): unknown => JSON.parse(line)));
      const records = lines.filter((line) => line.includes('"decision"'));
      t.equal(
        records.length,
        Object.keys(PLACES).length * ALL_BYTES.length,
        'no byte makes a record of its own',
      );
    }
  });
}

t.test('the log keeps what it escapes, up to a limit', async (t) => {
  const proxy = await start(t, 'json');
  const agents = {
    'one "two" \\ three': 'one "two" \\ three',
    '\xc3\xa9\x9b31m\xe2\x80\xae': '\\u{c3}\\u{a9}\\u{9b}31m\\u{e2}\\u{80}\\u{ae}',
    'a\tb': 'a\\u{9}b',
    ['x'.repeat(10_000)]: `${'x'.repeat(297)}...`,
  };
  for (const agent of Object.keys(agents))
    await ask(t, proxy.port, request({ field: `User-Agent: ${agent}` }));
  proxy.child.kill('SIGTERM');
  await once(proxy.child, 'close');
  const decisions = proxy
    .log()
    .split('\n')
    .filter((line) => line.includes('"decision"'))
    .map((line) => JSON.parse(line) as { readonly userAgent?: string; readonly user?: string });
  t.same(
    decisions.map(({ userAgent }) => userAgent),
    Object.values(agents),
  );
  t.equal(decisions[0]?.user, printable(ODD_USER));
});

t.test('what is printable is one line of visible ASCII, whatever it was', async (t) => {
  t.equal(printable('as it is: "~"'), 'as it is: "~"');
  t.equal(printable('\r\n\x1b[31m\x7f\x9b'), '\\u{d}\\u{a}\\u{1b}[31m\\u{7f}\\u{9b}');
  t.equal(printable('é😀\u202e\ud800'), '\\u{e9}\\u{1f600}\\u{202e}\\u{d800}');
  t.equal(printable('x'.repeat(300)), 'x'.repeat(300));
  t.equal(printable('x'.repeat(301)), `${'x'.repeat(297)}...`);
  t.equal(printable('é'.repeat(301)).length, 300);
});

interface Started {
  readonly child: ChildProcess;
  readonly port: number;
  /** What is on standard error so far, byte for byte. */
  readonly log: () => string;
}

/** A proxy whose log is kept as it is written. The name that is dialled has no address. */
async function start(t: Test, format: 'json' | 'pretty'): Promise<Started> {
  const flags = ['--listen', '127.0.0.1:0', '--admin', 'off', '--drain-window', '0s', '--log-format', format];
  const child = spawn(process.execPath, [CLI, 'serve', ...flags, '--user', `${ODD_USER}:${PASSWORD}`], {
    env: { ...process.env, NODE_OPTIONS: '' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(() => void child.kill('SIGKILL'));
  const log: Buffer[] = [];
  child.stderr.on('data', (chunk: Buffer) => log.push(chunk));
  let banner = '';
  while (!banner.includes('\nlistening')) {
    const [chunk] = (await once(child.stdout, 'data')) as [Buffer];
    banner += chunk.toString();
  }
  child.stdout.resume();
  const port = Number(/^listening +127\.0\.0\.1:([0-9]+)$/m.exec(banner)?.[1]);
  return { child, port, log: () => Buffer.concat(log).toString('latin1') };
}

/** Sends the request and its end, and reads the whole answer. */
async function ask(t: Test, port: number, text: string): Promise<string> {
  const client = await connectRaw(t, { host: '127.0.0.1', port });
  client.write(Buffer.from(text, 'latin1'));
  const { bytes } = await readToEnd(client);
  client.destroy();
  return bytes.toString('latin1');
}

function request({ target = 'host.test:443', version = 'HTTP/1.1', field = 'Name: value' }): string {
  return `CONNECT ${target} ${version}\r\nHost: host.test\r\n${field}\r\n${AUTHORIZATION}\r\n`;
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}
