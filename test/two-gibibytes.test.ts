import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import t from 'tap';
import { readUntilEnd } from './fixtures/endings.js';
import { startProxy } from './fixtures/proxy.js';
import { listenOn, openTunnel } from './fixtures/sockets.js';

const BLOCK_BYTES = 1024 * 1024;
const BLOCKS = 2048;

t.test('2 GiB each way at once arrive with the SHA-256 that they were sent with', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, ['--allow', `127.0.0.0/8:${peer.port}`]);
  const { client, upstream } = await openTunnel(t, proxy, peer);
  const startedMs = performance.now();
  const [sentUp, sentDown, receivedUp, receivedDown] = await Promise.all([
    send(client),
    send(upstream),
    receive(upstream),
    receive(client),
  ]);
  const seconds = (performance.now() - startedMs) / 1000;
  t.same(receivedUp, sentUp, 'client to upstream');
  t.same(receivedDown, sentDown, 'upstream to client');
  t.ok(seconds < 60, `${seconds.toFixed(1)} s, ${((4 * 1024) / seconds).toFixed(0)} MiB/s`);
  const bytes = BLOCKS * BLOCK_BYTES;
  t.match(await proxy.until(({ event }) => event === 'close'), { bytesUp: bytes, bytesDown: bytes });
});

/** What passed, and its digest. */
interface Passed {
  readonly bytes: number;
  readonly sha256: string;
}

/** Sends blocks that no other place of the stream has, then the end of file. */
async function send(socket: Socket): Promise<Passed> {
  const hash = createHash('sha256');
  const noise = randomBytes(BLOCK_BYTES);
  for (let number = 0; number < BLOCKS; number += 1) {
    // A copy, because the socket holds on to it.
    const block = Buffer.from(noise);
    block.writeUInt32BE(number);
    hash.update(block);
    if (!socket.write(block)) await once(socket, 'drain');
  }
  socket.end();
  return { bytes: BLOCKS * BLOCK_BYTES, sha256: hash.digest('hex') };
}

async function receive(socket: Socket): Promise<Passed> {
  const hash = createHash('sha256');
  let bytes = 0;
  const end = await readUntilEnd(socket, (chunk) => {
    hash.update(chunk);
    bytes += chunk.length;
  });
  return { bytes, sha256: end === 'fin' ? hash.digest('hex') : end };
}
