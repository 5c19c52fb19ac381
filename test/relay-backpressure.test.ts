import { randomBytes } from 'node:crypto';
import { receiveAll } from './fixtures/endings.js';
import { writeUntilStopped } from './fixtures/flood.js';
import { memoryInUse } from './fixtures/memory.js';
import { eachRelayBothWays } from './fixtures/relay-pair.js';
import { readBytes } from './fixtures/sockets.js';

/** What a tunnel may hold in the process for one direction, whatever the kernel holds beside it. */
const MAX_HELD_BYTES = 1024 * 1024;

eachRelayBothWays(
  'the {other} that does not read stops the {one}; when it goes on, so does the {one}',
  async (t, relay, one, other) => {
    const bytes = randomBytes(64 * 1024 * 1024);
    const pair = await relay.pair(t);
    const before = memoryInUse().arrayBuffers;
    const written = await writeUntilStopped(pair[one], bytes);
    const heldBytes = memoryInUse().arrayBuffers - before;
    t.comment(
      `${written} of ${bytes.length} bytes were taken; the buffers of the process grew by ${heldBytes} bytes`,
    );
    t.ok(heldBytes < MAX_HELD_BYTES, `held at most ${MAX_HELD_BYTES} bytes`);

    // The other direction does not know of it.
    pair[other].write('still here?');
    t.equal((await readBytes(pair[one], 11)).toString(), 'still here?');

    pair[one].end(bytes.subarray(written));
    const received = await receiveAll(pair[other]);
    t.equal(received.end, 'fin');
    t.ok(received.bytes.equals(bytes), 'every byte arrives');
    pair[other].end();
    t.same(await pair.end, { cause: `${one}_fin` });
  },
);

eachRelayBothWays(
  'the {other} that reads in fits and starts gets every byte',
  async (t, relay, one, other) => {
    const bytes = randomBytes(24 * 1024 * 1024);
    const pair = await relay.pair(t);
    pair[one].end(bytes);
    // Each stop lasts until nothing is in motion: the relay has paused, and is woken by the next reading.
    for (let read = 0; read < bytes.length; ) {
      const part = await readBytes(pair[other], Math.min(3 * 1024 * 1024, bytes.length - read));
      if (!part.equals(bytes.subarray(read, read + part.length))) t.fail(`wrong bytes behind ${read}`);
      read += part.length;
      await stillness(() => pair.traffic.bytesUp + pair.traffic.bytesDown);
    }
    t.same(await receiveAll(pair[other]), { bytes: Buffer.alloc(0), end: 'fin' });
  },
);

/** Resolves when a number has not changed for several turns of the event loop. */
async function stillness(read: () => number): Promise<void> {
  for (let turns = 0, last = -1; turns < 20; turns += 1) {
    if (read() !== last) turns = 0;
    last = read();
    await new Promise(setImmediate);
  }
}
