import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { loadConfig } from '../src/config/load.js';
import { HEALTH } from '../src/config/tables.js';
import { formatAuthority } from '../src/target.js';
import { startProxy } from './fixtures/proxy.js';
import { runCli } from './fixtures/run-cli.js';
import { connectHead, connectRaw, listenOn, readHead } from './fixtures/sockets.js';

const HEALTHY = { code: 0, stdout: 'live\n', stderr: '' };

/** A health check that fails says so in one line; that line. */
async function unhealthy(t: Test, argv: readonly string[], env = {}): Promise<string> {
  const { code, stdout, stderr } = await runCli(['health', ...argv], { env });
  t.equal(code, 1);
  t.equal(stdout, '');
  t.match(stderr, /^spliceway health: [^\n]+\n$/);
  return stderr;
}

t.test('a proxy that runs is healthy, wherever its admin listener was told from', async (t) => {
  const { admin } = await startProxy(t);
  const options = `listen: nonsense\nadmin: ${admin}\nno-such-option: 1\nallow: []\n`;
  const file = `${t.testdir({ 'options.yaml': options })}/options.yaml`;
  t.same(await runCli(['health', '--admin', admin]), HEALTHY);
  t.same(await runCli(['health'], { env: { SPLICEWAY_ADMIN: admin } }), HEALTHY);
  t.same(
    await runCli(['health', '--config', file]),
    HEALTHY,
    'and what else the file says is not its business',
  );
  t.same(await runCli(['health'], { env: { SPLICEWAY_CONFIG: file } }), HEALTHY);
  const others = { SPLICEWAY_PASSWORD: 'alone', SPLICEWAY_LISTEN: 'nonsense', SPLICEWAY_PARENT: ':' };
  t.same(
    await runCli(['health'], { env: { ...others, SPLICEWAY_ADMIN: admin } }),
    HEALTHY,
    'nor what other variables say',
  );
});

for (const { every, first, second } of [
  { every: '0.0.0.0', first: '127.0.0.1', second: '[::1]' },
  { every: '[::]', first: '[::1]', second: '127.0.0.1' },
]) {
  t.test(`an admin listener on ${every} is asked on ${first}, and then on ${second}`, async (t) => {
    const { admin } = await startProxy(t, ['--admin', `${every}:0`]);
    const port = admin.slice(admin.lastIndexOf(':') + 1);
    t.same(await runCli(['health', '--admin', `${every}:${port}`]), HEALTHY);
    const free = await listenOn(t);
    free.server.close();
    const said = await unhealthy(t, ['--admin', `${every}:${free.port}`]);
    t.match(said, `nothing listens on ${first}:${free.port} or ${second}:${free.port}: `);
    const narrow = await startProxy(t, ['--admin', `${second}:0`]);
    const at = narrow.admin.slice(narrow.admin.lastIndexOf(':') + 1);
    t.same(await runCli(['health', '--admin', `${every}:${at}`]), HEALTHY);
  });
}

t.test('a proxy that drains lives, as its tunnels do', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, ['--allow', `127.0.0.0/8:${peer.port}`]);
  const client = await connectRaw(t, proxy);
  client.write(connectHead(`127.0.0.1:${peer.port}`));
  t.equal((await readHead(client)).status, 200);
  const upstream = await peer.next();
  const stopped = proxy.stop();
  await proxy.until(({ event }) => event === 'draining');
  t.equal((await proxy.page('/ready')).status, 503);
  t.same(await runCli(['health', '--admin', proxy.admin]), HEALTHY);
  for (const socket of [client, upstream]) socket.resume().end();
  t.equal(await stopped, 0);
  t.match(
    await unhealthy(t, ['--admin', proxy.admin]),
    /nothing listens on [\d.:]+: the proxy is not running, .* or its --admin is another one: give .* banner/,
    'and is unhealthy when it has ended',
  );
});

t.test('whoever does not answer in time is unhealthy, and is not waited for', async (t) => {
  const silent = await listenOn(t);
  const stalled = createServer((_request, response) => void response.writeHead(200).write('li'));
  stalled.listen(0, '127.0.0.1');
  await once(stalled, 'listening');
  t.teardown(() => void stalled.close().closeAllConnections());
  for (const port of [silent.port, (stalled.address() as AddressInfo).port])
    t.match(
      await unhealthy(t, [], {
        SPLICEWAY_ADMIN: `127.0.0.1:${port}`,
        SPLICEWAY_HEALTH_TIMEOUT: '200ms',
      }),
      `127.0.0.1:${port} did not answer within 0.2s: `,
    );
});

t.test('asked at the port of the tunnels, it says that the admin listener has another', async (t) => {
  for (const listen of ['127.0.0.1:0', '[::1]:0']) {
    const { host, port } = await startProxy(t, ['--listen', listen]);
    const asked = formatAuthority(host, port);
    t.match(
      await unhealthy(t, ['--admin', asked]),
      `${asked} is the --listen of a proxy, and its --admin is another port: `,
    );
  }
});

t.test('the help says that a proxy that drains lives', async (t) => {
  t.match((await runCli(['health', '--help'])).stdout, /A proxy that\s+drains lives/);
});

t.test('another program on the port is not taken for the proxy', async (t) => {
  const answers = [
    { status: 200, body: 'live, but longer\n' },
    { status: 200, body: '' },
    { status: 404, body: 'live\n' },
  ];
  for (const { status, body } of answers) {
    const other = createServer((_request, response) => void response.writeHead(status).end(body));
    other.listen(0, '127.0.0.1');
    await once(other, 'listening');
    t.teardown(() => void other.close().closeAllConnections());
    const admin = `127.0.0.1:${(other.address() as AddressInfo).port}`;
    t.match(await unhealthy(t, ['--admin', admin]), `${admin} answered ${status}, but not as spliceway does`);
  }
  const closing = await listenOn(t);
  closing.server.on('connection', (socket) => socket.destroy());
  t.match(
    await unhealthy(t, ['--admin', `127.0.0.1:${closing.port}`]),
    /gave no answer \((?:ECONNRESET|EPIPE)\)/,
  );
});

t.test('where nobody can be asked it says so, with exit code 64', async (t) => {
  for (const [argv, env, problem] of [
    [['--admin', 'off'], {}, /--admin "off" leaves nobody to ask: give .*127\.0\.0\.1:9128, or do without/],
    [
      [],
      { SPLICEWAY_ADMIN: '127.0.0.1:0' },
      /SPLICEWAY_ADMIN "127\.0\.0\.1:0" is another port at every start/,
    ],
    [['--admin', '9128'], {}, /--admin "9128" is not a listen address/],
    [['--health-timeout', '0'], {}, /must be longer than 0/],
    [['--listen', '127.0.0.1:1'], {}, /--listen is an option of spliceway serve, not of spliceway health/],
    [['--config', '/nowhere.yaml'], {}, /\/nowhere\.yaml does not exist/],
    [['127.0.0.1:9128'], {}, /argument 1 is not an option/],
  ] as const) {
    const load = () => loadConfig(HEALTH, argv, env);
    t.throws(load, { message: problem }, argv.join(' '));
  }
  const { code, stdout, stderr } = await runCli(['health', '--admin', 'off']);
  t.equal(code, 64);
  t.equal(stdout, '');
  t.match(stderr, /^spliceway: one problem with the options:\n {2}[^\n]+\nsee spliceway health --help\n$/);
});
