import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { receiveAll } from './fixtures/endings.js';
import { writeUntilStopped } from './fixtures/flood.js';
import { startForward } from './fixtures/forward.js';
import type { RunningProxy } from './fixtures/proxy.js';
import { connectRaw, listenOn } from './fixtures/sockets.js';

const MIB = 1024 * 1024;

for (const relay of ['splice', 'stream'] as const) {
  t.test(
    `what a client sends before there is an upstream waits in the kernel, and arrives first, by ${relay}`,
    async (t) => {
      // A port where nobody listens yet: the dial goes on until somebody does.
      const absent = await listenOn(t);
      absent.server.close();
      await once(absent.server, 'close');
      const port = await startForward(t, `127.0.0.1:${absent.port}`, [
        ...['--relay', relay, '--dial-retry', '30s'],
      ]);
      const before = peakMemory(port);
      const client = await connectRaw(t, port);
      const bytes = randomBytes(64 * MIB);
      const written = await writeUntilStopped(client, bytes);
      const grown = peakMemory(port) - before;
      t.comment(`${written} bytes were taken; the process grew by ${grown} bytes at its peak`);
      t.ok(grown < 32 * MIB, 'the memory of the process is bounded');

      const peer = await listenOn(t, '127.0.0.1', absent.port);
      client.end(bytes.subarray(written));
      const upstream = await peer.next();
      const received = await receiveAll(upstream);
      t.equal(received.end, 'fin');
      t.ok(received.bytes.equals(bytes), 'every byte, in order');
      upstream.end();
      t.match(await port.until(({ event }) => event === 'close'), {
        cause: 'client_fin',
        bytesUp: bytes.length,
        bytesDown: 0,
      });
      t.equal(await port.stop(), 0);
    },
  );
}

/** The most memory that the process ever had resident, in bytes: proc_pid_status(5), VmHWM. */
function peakMemory(port: RunningProxy): number {
  const status = readFileSync(`/proc/${port.process.pid}/status`, 'latin1');
  return Number(/^VmHWM:\s+([0-9]+) kB$/m.exec(status)?.[1]) * 1024;
}
