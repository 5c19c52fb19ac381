import { readdirSync } from 'node:fs';
import t from 'tap';
import { startProxy } from './fixtures/proxy.js';
import { listenOn, openTunnel } from './fixtures/sockets.js';

t.test('--relay-threads sets how many threads move bytes', async (t) => {
  const threads = async (count: string) => {
    const proxy = await startProxy(t, ['--relay-threads', count]);
    return readdirSync(`/proc/${proxy.process.pid}/task`).length;
  };
  t.equal((await threads('5')) - (await threads('1')), 4);
});

t.test('--user-timeout ends a tunnel whose reader takes nothing for so long', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, ['--allow', `127.0.0.0/8:${peer.port}`, '--user-timeout', '1s']);
  const { client, upstream } = await openTunnel(t, proxy, peer);
  client.pause();
  upstream.write(Buffer.alloc(64 * 1024 * 1024));
  const { cause, durationMs } = await proxy.until(({ event }) => event === 'close');
  t.equal(cause, 'client_timeout');
  t.ok(Number(durationMs) >= 1000, `${durationMs} ms`);
});

t.test('--user-timeout is said to have no effect where it has none', async (t) => {
  const proxy = await startProxy(t, ['--relay', 'stream', '--user-timeout', '1s']);
  await proxy.until(({ msg }) => msg === '--user-timeout has no effect: the relay engine is stream');
});
