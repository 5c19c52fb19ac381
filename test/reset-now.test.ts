import { once } from 'node:events';
import t from 'tap';
import { resetNow } from '../src/relay/reset.js';
import { receiveAll } from './fixtures/endings.js';
import { connection } from './fixtures/relay-pair.js';

for (const host of ['127.0.0.1', '::1']) {
  t.test(`a peer reads a reset and no end of file before it (${host})`, async (t) => {
    const [socket, peer] = await connection(t, host);
    resetNow(socket);
    await once(socket, 'close');
    t.same(await receiveAll(peer), { bytes: Buffer.alloc(0), end: 'reset' });
  });

  t.test(`a reset does not wait for what the peer does not read (${host})`, async (t) => {
    const [socket, peer] = await connection(t, host);
    peer.pause();
    socket.write(Buffer.alloc(64 * 1024 * 1024));
    resetNow(socket);
    await once(socket, 'close');
    t.equal((await receiveAll(peer)).end, 'reset');
  });

  t.test(`a socket that is being ended is closed, whenever the reset comes (${host})`, async (t) => {
    // Between the end and the next turn of the event loop the shutdown is under way.
    for (let ticks = 0; ticks < 8; ticks += 1) {
      const [socket, peer] = await connection(t, host);
      const errors: Error[] = [];
      socket.on('error', (error) => errors.push(error));
      socket.end();
      for (let tick = 0; tick < ticks; tick += 1)
        await new Promise<void>((resolve) => process.nextTick(resolve));
      resetNow(socket);
      resetNow(socket);
      await new Promise((resolve) => socket.once('close', resolve));
      t.same(errors, [], `${ticks} ticks after the end`);
      // The end of file may have been on its way, and then it is what the peer reads first.
      t.same((await receiveAll(peer)).bytes, Buffer.alloc(0));
      peer.write('');
      if (!peer.errored) await once(peer, 'error').catch(() => {});
      t.ok(peer.errored, 'and the reset behind it');
    }
  });

  t.test(`a socket that is closed stays closed (${host})`, async (t) => {
    const [socket, peer] = await connection(t, host);
    socket.destroy();
    resetNow(socket);
    await once(socket, 'close');
    resetNow(socket);
    t.same(await receiveAll(peer), { bytes: Buffer.alloc(0), end: 'fin' });
  });
}
