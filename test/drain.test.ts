import { once } from 'node:events';
import { connect } from 'node:net';
import t from 'tap';
import { receiveAll } from './fixtures/endings.js';
import { eventually } from './fixtures/process-state.js';
import { type RunningProxy, startProxy } from './fixtures/proxy.js';
import {
  connectHead,
  connectRaw,
  exchange,
  listenOn,
  openTunnel,
  readBytes,
  readHead,
} from './fixtures/sockets.js';

const ALLOWED = ['--allow', '127.0.0.0/8:*'];
const RESET = { bytes: Buffer.alloc(0), end: 'reset' };
/** Within it a few things are done; a busy machine takes its time for them. */
const WINDOW_MS = 5000;

// These tests wait more than they work.
t.jobs = 4;

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  t.test(
    `${signal}: not ready at once, accepting for the window, then refusing, while tunnels run on`,
    { buffered: true },
    async (t) => {
      const peer = await listenOn(t);
      const proxy = await startProxy(t, [...ALLOWED, '--drain-window', `${WINDOW_MS}ms`]);
      const early = await openTunnel(t, proxy, peer);
      t.equal((await proxy.page('/ready')).status, 200);

      const signalledMs = performance.now();
      const exited = proxy.stop(signal);
      await proxy.until(({ event }) => event === 'draining');
      t.match(await proxy.page('/ready'), { status: 503, body: /draining/ });
      t.equal((await proxy.page('/live')).status, 200, 'and yet alive');
      t.equal(await proxy.metric('spliceway_draining'), 1);
      const late = await openTunnel(t, proxy, peer);

      await eventually(
        () => canConnect(proxy),
        (can) => !can,
      );
      t.ok(performance.now() - signalledMs >= WINDOW_MS - 5, 'the window was kept');
      for (const { client, upstream } of [early, late]) {
        client.write('still open?');
        t.equal((await readBytes(upstream, 11)).toString(), 'still open?');
        upstream.end('yes');
        t.same(await receiveAll(client), { bytes: Buffer.from('yes'), end: 'fin' });
        client.end();
      }
      t.equal(await exited, 0);
      t.match(proxy.log.at(-1), { event: 'stopped', cut: 0 });
      t.equal(proxy.log.filter(({ event }) => event === 'close').length, 2);
    },
  );
}

t.test(
  'what does not end in time is reset on both sides, logged, and the exit code tells',
  { buffered: true },
  async (t) => {
    const peer = await listenOn(t);
    const proxy = await startProxy(t, [...ALLOWED, '--drain-timeout', '500ms']);
    const { client, upstream } = await openTunnel(t, proxy, peer);
    const dialling = await connectRaw(t, proxy);
    dialling.write(connectHead('127.66.0.1:443'));
    await proxy.until(({ event, target }) => event === 'decision' && target === '127.66.0.1:443');
    const signalledMs = performance.now();
    const exited = proxy.stop();
    t.same(await Promise.all([receiveAll(client), receiveAll(upstream)]), [RESET, RESET]);
    t.ok(performance.now() - signalledMs >= 495, 'not before its time');
    t.equal(await exited, 1);
    const closes = proxy.log.filter(({ event }) => event === 'close');
    t.match(
      closes.find(({ cause }) => cause !== undefined),
      { cause: 'aborted', endedBy: 'proxy' },
    );
    t.match(
      closes.find(({ reason }) => reason !== undefined),
      { reason: 'draining', code: 503 },
    );
    t.equal(closes.length, 2);
    t.match(proxy.log.at(-1), { event: 'stopped', cut: 2, level: 'warn' });
    const { bytes } = await receiveAll(dialling);
    t.match(bytes.toString(), /^HTTP\/1\.1 503 draining: .*\r\n[\s\S]*\r\nRetry-After: [0-9]+\r\n/);
  },
);

for (const when of ['within the window', 'behind it']) {
  t.test(`a second signal cuts at once, ${when}`, { buffered: true }, async (t) => {
    const peer = await listenOn(t);
    const window = when === 'within the window' ? '1h' : '0s';
    const proxy = await startProxy(t, [...ALLOWED, '--drain-window', window, '--drain-timeout', '1h']);
    const { client, upstream } = await openTunnel(t, proxy, peer);
    const exited = proxy.stop('SIGTERM');
    await proxy.until(({ event }) => event === 'draining');
    if (window === '0s')
      await eventually(
        () => canConnect(proxy),
        (can) => !can,
      );
    client.write('still open?');
    t.equal((await readBytes(upstream, 11)).toString(), 'still open?');
    proxy.process.kill('SIGINT');
    t.same(await Promise.all([receiveAll(client), receiveAll(upstream)]), [RESET, RESET]);
    t.equal(await exited, 1);
    t.match(await proxy.until(({ event }) => event === 'close'), { cause: 'aborted' });
  });
}

t.test(
  'a request that comes on a connection from before is told to try again',
  { buffered: true },
  async (t) => {
    const peer = await listenOn(t);
    const proxy = await startProxy(t, ALLOWED);
    const tunnel = await openTunnel(t, proxy, peer);
    const waiting = await connectRaw(t, proxy);
    await eventually(
      () => proxy.metric('spliceway_connections_total'),
      (count) => count === 2,
    );
    const exited = proxy.stop();
    await eventually(
      () => canConnect(proxy),
      (can) => !can,
    );
    waiting.write(connectHead(`127.0.0.1:${peer.port}`));
    const { status, headers, phrase } = await readHead(waiting);
    t.equal(status, 503);
    t.match(phrase, /^draining: /);
    t.match(headers, { 'retry-after': /^[0-9]+$/, 'proxy-status': /error=draining/ });
    tunnel.client.end();
    tunnel.upstream.end();
    t.equal(await exited, 0, 'and does not keep the process');
  },
);

t.test('connections without a request do not keep the process', { buffered: true }, async (t) => {
  const proxy = await startProxy(t, ALLOWED);
  const silent = await connectRaw(t, proxy);
  const halfway = await connectRaw(t, proxy);
  halfway.write('CONNECT ');
  const refused = await exchange(t, proxy, 'GET / HTTP/1.1\r\n\r\n');
  t.equal(await proxy.stop(), 0);
  for (const socket of [silent, halfway, refused.socket]) await receiveAll(socket);
});

async function canConnect({ host, port }: RunningProxy): Promise<boolean> {
  const socket = connect({ host, port });
  const can = await once(socket, 'connect').then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      // One that was not accepted yet is reset when the listener closes.
      if (error.code !== 'ECONNREFUSED' && error.code !== 'ECONNRESET') throw error;
      return error.code === 'ECONNRESET';
    },
  );
  socket.destroy();
  return can;
}
