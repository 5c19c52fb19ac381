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
  const [up, down] = [randomBytes(BLOCK_BYTES), randomBytes(BLOCK_BYTES)];
  const startedMs = performance.now();
  const [receivedUp, receivedDown] = await Promise.all([
    receive(upstream),
    receive(client),
    send(client, up),
    send(upstream, down),
  ]);
  const seconds = (performance.now() - startedMs) / 1000;
  t.comment(`${seconds.toFixed(1)} s, ${((4 * 1024) / seconds).toFixed(0)} MiB/s`);
  t.equal(receivedUp, digest(up), 'client to upstream');
  t.equal(receivedDown, digest(down), 'upstream to client');
  const bytes = BLOCKS * BLOCK_BYTES;
  t.match(await proxy.until(({ event }) => event === 'close'), { bytesUp: bytes, bytesDown: bytes });
});

/** Sends all the blocks, then the end of file. */
async function send(socket: Socket, noise: Buffer): Promise<void> {
  for (const block of blocks(noise)) if (!socket.write(block)) await once(socket, 'drain');
  socket.end();
}

/** The SHA-256 of what arrives up to the end of file. */
async function receive(socket: Socket): Promise<string> {
  const hash = createHash('sha256');
  const end = await readUntilEnd(socket, (chunk) => hash.update(chunk));
  return end === 'fin' ? hash.digest('hex') : end;
}

function digest(noise: Buffer): string {
  const hash = createHash('sha256');
  for (const block of blocks(noise)) hash.update(block);
  return hash.digest('hex');
}

/** Blocks that differ from each other, so that none can take another's place. */
function* blocks(noise: Buffer): Generator<Buffer> {
  for (let number = 0; number < BLOCKS; number += 1) {
    const block = Buffer.from(noise);
    block.writeUInt32BE(number);
    yield block;
  }
}
