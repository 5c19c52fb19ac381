import t from 'tap';
import { SERVE, startContainer } from '../fixtures/container.js';
import { listenOn, openTunnel, readBytes, readToEnd } from '../fixtures/sockets.js';

t.test('podman stop drains: an open tunnel still delivers, and the exit code is 0', async (t) => {
  const peer = await listenOn(t);
  const container = await startContainer(t, { argv: [...SERVE, '--allow', `127.0.0.0/8:${peer.port}`] });
  const { client, upstream } = await openTunnel(t, container, peer);
  const ended = container.end();
  await container.until(({ event, signal }) => event === 'draining' && signal === 'SIGTERM');
  const payload = Buffer.alloc(3_000_000, 'through the drain ');
  client.end(payload);
  t.ok((await readBytes(upstream, payload.length)).equals(payload), 'every byte arrives');
  upstream.end('thanks');
  t.same(await readToEnd(client), { bytes: Buffer.from('thanks'), end: 'fin' });
  t.equal(await ended, 0);
  t.match(
    container.log.filter(({ event }) => event === 'stopped'),
    [{ cut: 0 }],
  );
});
