import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { parse } from 'yaml';
import { eventually } from './fixtures/process-state.js';
import { CLI } from './fixtures/proxy.js';
import { connectRaw, listenOn, readHead } from './fixtures/sockets.js';

/** A private address of the namespace: nothing that the default policy refuses. */
const PRIVATE = '100.64.77.1';

/** What `spliceway serve` without any option says. */
interface Started {
  readonly pid: number;
  readonly banner: string;
  readonly listening: Readonly<Record<string, unknown>>;
  /** Everything on standard error so far. */
  readonly stderr: () => string;
  readonly login: URL;
  stop(): Promise<void>;
}

async function start(t: Test): Promise<Started> {
  const child = spawn(process.execPath, [CLI, 'serve'], {
    env: { ...process.env, NODE_OPTIONS: '' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
  t.teardown(stop);
  let banner = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => {
    banner += chunk.toString();
  });
  const lines = createInterface({ input: child.stderr });
  lines.on('line', (line) => {
    stderr += `${line}\n`;
  });
  const [line] = (await once(lines, 'line')) as [string];
  // It is written first, but on another pipe.
  await eventually(
    () => banner,
    (text) => /^relay engine .*\n/m.test(text),
  );
  const setting = parse(
    banner.split('\n').find((each) => each.includes('stunnel_tcp_proxy:')) ?? '',
  ) as unknown;
  if (child.pid === undefined || typeof setting !== 'object' || setting === null)
    throw new Error(banner + stderr);
  return {
    pid: child.pid,
    banner,
    listening: JSON.parse(line) as Record<string, unknown>,
    stderr: () => stderr,
    login: new URL(Object.values(setting).join()),
    stop,
  };
}

/** The status line that these credentials get for a target, asked for as stunnel does. */
async function statusOf(t: Test, { login }: Started, authority: string): Promise<string> {
  const client = await connectRaw(t, { host: login.hostname, port: Number(login.port) });
  const credentials = Buffer.from(`${login.username}:${login.password}`).toString('base64');
  client.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n`);
  client.write(`Proxy-Authorization: basic ${credentials}\r\n\r\n`);
  const { status, phrase } = await readHead(client);
  client.resetAndDestroy();
  return `${status} ${phrase}`;
}

t.test('without any option it listens, says how to use it, and lets in whom it says', async (t) => {
  const started = await start(t);
  const { banner, listening, login, pid } = started;

  const sockets = execFileSync('ss', ['-Htlnp'], { encoding: 'utf8' });
  const own = sockets.split('\n').filter((line) => line.includes(`pid=${pid},`));
  t.same(own.map((line) => line.split(/\s+/)[3]).sort(), ['0.0.0.0:3128', '127.0.0.1:9128']);
  t.match(listening, { event: 'listening', listeners: ['0.0.0.0:3128'], admin: '127.0.0.1:9128' });

  t.match(banner, /^ {2}stunnel_tcp_proxy: http:\/\/migration:[0-9a-f]{32}@[0-9.]+:3128$/m);
  t.equal(login.port, '3128');
  t.match(banner, `relay engine   ${listening.engine}`);
  const [metrics = ''] = /(?<=^metrics {8})\S+$/m.exec(banner) ?? [];
  const page = await (await fetch(metrics)).text();
  t.match(page, `spliceway_relay_engine_info{engine="${listening.engine}",state="active",why=""} 1`);

  for (const port of [443, 6443]) {
    await listenOn(t, PRIVATE, port);
    t.equal(await statusOf(t, started, `${PRIVATE}:${port}`), '200 Connection established');
  }
  t.notMatch(started.stderr(), login.password, 'the password is not in the log');
  t.notMatch(readFileSync(`/proc/${pid}/cmdline`, 'utf8'), login.password, 'nor in ps');
  t.notMatch(await (await fetch(metrics)).text(), login.password, 'nor in the metrics');
  await started.stop();
});

t.test('without any option it reaches 443 and 6443 only, and no special-purpose address', async (t) => {
  const started = await start(t);
  for (const authority of ['dual.test:80', `${PRIVATE}:8443`, `${PRIVATE}:22`, '[fd77::1]:4443'])
    t.match(
      await statusOf(t, started, authority),
      `403 destination_denied: ${authority} is not at port 443 or 6443, which is all that is allowed without --allow rules; add --allow ${authority}`,
    );
  for (const authority of [
    '127.0.0.1:443',
    '[::1]:6443',
    'localhost:443',
    'dual.test:443',
    '169.254.169.254:443',
    'metadata.test:443',
    '0.0.0.0:443',
    '192.0.2.1:443',
    '[fe80::1]:443',
    '[::ffff:127.0.0.1]:443',
    '224.0.0.1:443',
  ])
    t.match(await statusOf(t, started, authority), /^403 destination_ip_prohibited: /, authority);
  await started.stop();
});

t.test('the curl line works as it is printed', async (t) => {
  const started = await start(t);
  const directory = t.testdir({});
  const [key, cert] = [`${directory}/key.pem`, `${directory}/cert.pem`];
  const subject = ['-subj', '/CN=test', '-nodes', '-keyout', key, '-out', cert];
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', ...subject],
    {
      stdio: 'ignore',
    },
  );
  const site = createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (_, response) => {
    response.end('through the tunnel');
  });
  site.listen(443, PRIVATE);
  await once(site, 'listening');
  t.teardown(() => void site.close());

  const line = started.banner.split('\n').find((each) => each.startsWith('  curl ')) ?? '';
  t.match(line, / https:\/\/example\.com\/$/);
  // Only the site is another one, and its certificate nobody's.
  const command = `${line.replace('example.com', PRIVATE)} --silent --show-error --insecure`;
  const { stdout } = await promisify(execFile)('sh', ['-c', command]);
  t.equal(stdout, 'through the tunnel');
  await started.stop();
});

t.test('each run has credentials of its own, and the others are refused', async (t) => {
  const first = await start(t);
  await first.stop();
  const second = await start(t);
  t.not(first.login.password, second.login.password);
  t.match(
    await statusOf(t, { ...second, login: first.login }, `${PRIVATE}:443`),
    /^407 credentials_rejected/,
  );
  await second.stop();
});
