import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import { eventually } from './fixtures/process-state.js';
import { type RunningProxy, startProxy } from './fixtures/proxy.js';
import { connectHead, exchange, listenOn, openTunnel, readBytes } from './fixtures/sockets.js';

const proxy = await startProxy(t, ['--allow', '127.0.0.0/8:*']);

const fetchPage = (path: string, init: RequestInit = {}) => fetch(`http://${proxy.admin}${path}`, init);

/** Sends bytes to the admin listener and tells everything that came back until it closed. */
async function sendRaw(t: Test, { admin }: RunningProxy, bytes: string): Promise<string> {
  const [, host = '', port = ''] = /^(.*):([0-9]+)$/.exec(admin) ?? [];
  const socket = connect({ host: host.replace(/[[\]]/g, ''), port: Number(port) });
  t.teardown(() => void socket.destroy());
  await once(socket, 'connect');
  socket.end(bytes);
  return text(socket).catch(() => '');
}

t.test('/live and /ready say so in a word', async (t) => {
  for (const [path, body] of [
    ['/live', 'live\n'],
    ['/ready', 'ready\n'],
    ['/ready?verbose=1', 'ready\n'],
  ] as const) {
    const response = await fetchPage(path);
    t.equal(response.status, 200, path);
    t.equal(await response.text(), body);
    t.equal(response.headers.get('content-type'), 'text/plain; charset=utf-8');
    t.equal(response.headers.get('cache-control'), 'no-store');
  }
});

t.test('/metrics is the text format of Prometheus', async (t) => {
  const response = await fetchPage('/metrics');
  t.equal(response.status, 200);
  t.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
  t.match(await response.text(), /^# HELP spliceway_build_info /m);
});

t.test('any other path is not found, and names the pages there are', async (t) => {
  for (const path of ['/', '/metrics/', '/favicon.ico', '/..%2f..%2fetc/passwd']) {
    const response = await fetchPage(path);
    t.equal(response.status, 404, path);
    t.equal(await response.text(), 'not here; there is /metrics, /live, /ready\n');
  }
});

t.test('HEAD gets the head of GET, and other methods are refused', async (t) => {
  for (const path of ['/live', '/ready', '/metrics']) {
    const head = await fetchPage(path, { method: 'HEAD' });
    t.equal(head.status, 200);
    t.equal(await head.text(), '');
    t.equal(head.headers.get('content-type'), (await fetchPage(path)).headers.get('content-type'));
    for (const method of ['POST', 'PUT', 'DELETE']) {
      const refused = await fetchPage(path, { method, ...(method === 'DELETE' ? {} : { body: 'x' }) });
      t.equal(refused.status, 405, `${method} ${path}`);
      t.equal(refused.headers.get('allow'), 'GET, HEAD');
    }
  }
});

t.test('/ready says no as soon as the proxy drains, and /live goes on', async (t) => {
  const draining = await startProxy(t, ['--allow', '127.0.0.0/8:*', '--drain-window', '1h']);
  draining.process.kill('SIGTERM');
  await draining.until(({ event }) => event === 'draining');
  t.same(await draining.page('/ready'), { status: 503, body: 'draining: no new tunnels\n' });
  t.same(await draining.page('/live'), { status: 200, body: 'live\n' });
  t.equal(await draining.metric('spliceway_draining'), 1);
  // The same signal would be one wish with the first for a while.
  t.equal(await draining.stop('SIGINT'), 0, 'a second signal ends the window');
});

t.test('malformed input does not hurt, neither the listener nor a tunnel', async (t) => {
  const tunnel = await openTunnel(t, proxy, await listenOn(t));
  for (const bytes of [
    '',
    '\r\n',
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    'GET\r\n\r\n',
    'GET /metrics HTTP/1.1\r\n\r\n',
    'GET /metrics HTTP/9.9\r\nHost: x\r\n\r\n',
    'GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n',
    `GET /${'x'.repeat(100_000)} HTTP/1.1\r\nHost: x\r\n\r\n`,
    'CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    connectHead('127.0.0.1:1'),
  ]) {
    t.notMatch(await sendRaw(t, proxy, bytes), /^HTTP\/1\.1 [25]/, JSON.stringify(bytes.slice(0, 60)));
    t.same(await proxy.page('/live'), { status: 200, body: 'live\n' });
  }
  tunnel.client.write('still there');
  t.equal((await readBytes(tunnel.upstream, 11)).toString(), 'still there');
  t.equal(await proxy.metric('spliceway_uncaught_errors_total'), 0);
  tunnel.client.destroy();
});

t.test('silent connections take up a few descriptors for a few seconds, and no more', async (t) => {
  const crowded = await startProxy(t);
  const [host = '', port = ''] = crowded.admin.split(':');
  const idle = Array.from({ length: 40 }, () => connect(Number(port), host).on('error', () => {}));
  t.teardown(() => {
    for (const socket of idle) socket.destroy();
  });
  await Promise.all(idle.map((socket) => once(socket, 'connect')));
  const probe = () => sendRaw(t, crowded, 'GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  t.equal(await probe(), '', 'no more are accepted');
  t.match(await eventually(probe, (answer) => answer !== ''), /^HTTP\/1\.1 200 OK\r\n/);
});

t.test('the admin listener is no destination, even where a rule allows its address', async (t) => {
  const { status, phrase } = await exchange(t, proxy, connectHead(proxy.admin));
  t.equal(status, 403);
  t.match(phrase, /^destination_is_proxy: /);
});

t.test('it listens on IPv6 too', async (t) => {
  const six = await startProxy(t, ['--admin', '[::1]:0']);
  t.match(six.admin, /^\[::1\]:[0-9]+$/);
  t.same(await six.page('/ready'), { status: 200, body: 'ready\n' });
});

t.test('--admin off listens nowhere', async (t) => {
  const without = await startProxy(t, ['--admin', 'off']);
  t.equal(without.admin, 'off');
  t.match(without.stdout(), 'metrics        off');
  t.equal(await without.stop(), 0);
});

t.test('who asks for pages and does not read them gets one at a time, and no memory', async (t) => {
  const greedy = await startProxy(t);
  const [, host = '', port = ''] = /^(.*):([0-9]+)$/.exec(greedy.admin) ?? [];
  const before = residentMiB(greedy);
  const closed = Array.from({ length: 20 }, async () => {
    const socket = connect({ host, port: Number(port) });
    socket.on('error', () => {});
    t.teardown(() => void socket.destroy());
    await once(socket, 'connect');
    socket.pause();
    socket.write('GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(400));
    socket.resume();
    await once(socket, 'close');
    return socket.bytesRead;
  });
  for (const bytes of await Promise.all(closed)) t.ok(bytes < 100_000, `${bytes} bytes are one page`);
  t.ok(residentMiB(greedy) - before < 64, `${residentMiB(greedy) - before} MiB more`);
  t.equal((await greedy.page('/live')).status, 200);
});

function residentMiB({ process: { pid } }: RunningProxy): number {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  return Number(/^VmRSS:\s+([0-9]+)/m.exec(status)?.[1]) / 1024;
}
