import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import { receiveAll } from './fixtures/endings.js';
import { writeUntilStopped } from './fixtures/flood.js';
import { startForward } from './fixtures/forward.js';
import { eventually } from './fixtures/process-state.js';
import type { RunningProxy } from './fixtures/proxy.js';
import { connectRaw, listenOn } from './fixtures/sockets.js';

const MIB = 1024 * 1024;
const UNTIL_SOMEBODY_LISTENS = ['--dial-retry', '30s'];

for (const relay of ['splice', 'stream'] as const) {
  t.test(
    `what a client sends before there is an upstream waits in the kernel, and arrives first, by ${relay}`,
    async (t) => {
      const later = await freePort(t);
      const port = await startForward(t, `127.0.0.1:${later}`, [...UNTIL_SOMEBODY_LISTENS, '--relay', relay]);
      const before = peakMemory(port);
      const client = await connectRaw(t, port);
      const bytes = randomBytes(64 * MIB);
      const written = await writeUntilStopped(client, bytes);
      const grown = peakMemory(port) - before;
      t.comment(`${written} bytes were taken; the process grew by ${grown} bytes at its peak`);
      t.ok(grown < 32 * MIB, 'the memory of the process is bounded');

      const peer = await listenOn(t, '127.0.0.1', later);
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

for (const early of ['', 'the whole request']) {
  const what = early === '' ? 'without a byte' : 'behind bytes';
  t.test(`an end of file ${what}, before there is an upstream, is kept for it`, async (t) => {
    const later = await freePort(t);
    const port = await startForward(t, `127.0.0.1:${later}`, UNTIL_SOMEBODY_LISTENS);
    const client = await connectRaw(t, port);
    client.end(early);
    await eventually(
      () => hasEndedItsHalf(client),
      (has) => has,
    );
    const peer = await listenOn(t, '127.0.0.1', later);
    const upstream = await peer.next();
    t.same(await receiveAll(upstream), { bytes: Buffer.from(early), end: 'fin' });
    upstream.end('the whole answer');
    t.same(await receiveAll(client), { bytes: Buffer.from('the whole answer'), end: 'fin' });
    t.match(await port.until(({ event }) => event === 'close'), { cause: 'client_fin' });
    t.equal(await port.stop(), 0);
  });
}

/** A port where nobody listens yet. */
async function freePort(t: Test): Promise<number> {
  const { server, port } = await listenOn(t);
  server.close();
  await once(server, 'close');
  return port;
}

/** Whether the other end has got the end of file of this one, as the kernel sees it. */
function hasEndedItsHalf({ localPort }: Socket): boolean {
  const ended = ['-Htn', 'state', 'fin-wait-2', `sport = :${localPort}`];
  return execFileSync('ss', ended, { encoding: 'utf8' }) !== '';
}

/** The most memory that the process ever had resident, in bytes: proc_pid_status(5), VmHWM. */
function peakMemory(port: RunningProxy): number {
  const status = readFileSync(`/proc/${port.process.pid}/status`, 'latin1');
  return Number(/^VmHWM:\s+([0-9]+) kB$/m.exec(status)?.[1]) * 1024;
}
