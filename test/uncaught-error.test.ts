import t from 'tap';
import { startProxy } from './fixtures/proxy.js';
import { listenOn, openTunnel, readBytes } from './fixtures/sockets.js';

t.test('an error that nothing catches is told and counted, and no tunnel ends of it', async (t) => {
  const mistakes = new URL('fixtures/mistakes.js', import.meta.url).href;
  const proxy = await startProxy(t, ['--allow', '127.0.0.0/8:*'], {
    env: { NODE_OPTIONS: `--import=${mistakes}` },
  });
  const peer = await listenOn(t);
  const { client, upstream } = await openTunnel(t, proxy, peer);
  for (const [signal, message, count] of [
    ['SIGUSR2', 'a made-up mistake', 1],
    ['SIGWINCH', 'a made-up rejection', 2],
  ] as const) {
    proxy.process.kill(signal);
    const record = await proxy.until(
      ({ event, err }) => event === 'uncaught' && (err as Error).message === message,
    );
    t.match(record, { level: 'error', msg: /please report it/i });
    t.match(record.err, { stack: /mistakes/ }, 'with the stack, for the report');
    t.equal(await proxy.metric('spliceway_uncaught_errors_total'), count);
    client.write(signal);
    t.equal((await readBytes(upstream, signal.length)).toString(), signal);
  }
  await openTunnel(t, proxy, peer);
  t.same((await proxy.page('/ready')).status, 200);
  client.destroy();
  upstream.destroy();
});
