import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { type RunningProxy, startProxy } from './fixtures/proxy.js';
import { checkComplete, refusalOf } from './fixtures/refusals.js';
import {
  connectHead,
  connectRaw,
  listenOn,
  openTunnel,
  readBytes,
  readHead,
  readToEnd,
} from './fixtures/sockets.js';

/** Two addresses: one that never answers is tried first, so that a dial takes a quarter of a second. */
const SLOW = 'blackhole-first.test';
/** An address that never answers. */
const NEVER = 'blackhole.test';

const FLAGS = ['--allow', '*.test:*', '--allow', '127.0.0.0/8:*'];
const MIB = 1024 * 1024;

t.test('what a client sends before the 200 is held, and reaches the upstream behind it', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, FLAGS);
  const head = Buffer.from(connectHead(`${SLOW}:${peer.port}`));
  for (const size of [1, 517, 16 * 1024, MIB]) {
    const early = randomBytes(size);
    const ways: readonly (readonly [what: string, segments: readonly Buffer[]])[] = [
      ['in one segment with the head', [Buffer.concat([head, early])]],
      ['in segments of its own', [head, ...inParts(early)]],
      ['partly with the head', [Buffer.concat([head, early.subarray(0, 1)]), ...inParts(early.subarray(1))]],
    ];
    for (const [what, segments] of ways) {
      await t.test(`${size} bytes ${what}`, async (t) => {
        const client = await connectRaw(t, proxy);
        client.setNoDelay();
        // The dial begins with the head, whatever this process does then.
        const startedMs = performance.now();
        for (const segment of segments) client.write(segment);
        const answer = await readHead(client);
        t.equal(answer.status, 200);
        t.ok(performance.now() - startedMs > 200, 'it was sent while the proxy dialled');
        t.equal(answer.rest.length, 0);
        const upstream = await peer.next();
        const arrived = await readBytes(upstream, size);
        t.equal(sha256(arrived), sha256(early), 'every byte, in order');
        client.end();
        upstream.end();
        t.same(await readToEnd(upstream), { bytes: Buffer.alloc(0), end: 'fin' }, 'and not a byte more');
        const closed = await proxy.until(
          ({ event, tunnel }) => event === 'close' && tunnel === answer.headers['spliceway-tunnel-id'],
        );
        t.equal(closed.bytesUp, size, 'it counts as traffic');
      });
    }
  }
});

t.test('an end of file behind early data is kept for the upstream', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, FLAGS);
  const head = connectHead(`${SLOW}:${peer.port}`);
  for (const segments of [[`${head}the whole request`], [head, 'the whole request']]) {
    await t.test(`in ${segments.length} segments`, async (t) => {
      const client = await connectRaw(t, proxy);
      client.setNoDelay();
      for (const segment of segments) client.write(segment);
      client.end();
      t.equal((await readHead(client)).status, 200);
      const upstream = await peer.next();
      t.same(await readToEnd(upstream), { bytes: Buffer.from('the whole request'), end: 'fin' });
      upstream.end('the whole answer');
      t.same(await readToEnd(client), { bytes: Buffer.from('the whole answer'), end: 'fin' });
    });
  }
});

t.test('while the proxy dials, it holds little of what a client pours in', async (t) => {
  const proxy = await startProxy(t, [...FLAGS, '--connect-timeout', '1s']);
  const chunk = Buffer.alloc(64 * 1024, 'flood');
  for (const withHead of [true, false]) {
    await t.test(withHead ? 'in one segment with the head' : 'in segments of its own', async (t) => {
      const before = peakMemory(proxy);
      const client = await connectRaw(t, proxy);
      const answered = once(client, 'readable');
      const head = connectHead(`${NEVER}:443`);
      client.write(withHead ? `${head}early data` : head);
      let poured = 0;
      let pouring = true;
      const pour = async () => {
        while (pouring && poured < 512 * MIB) {
          await new Promise((resolve) => client.write(chunk, resolve));
          poured += chunk.length;
        }
      };
      const stopped = pour();
      await answered;
      pouring = false;
      const pouredByThen = poured;
      t.equal((await readHead(client)).status, 504);
      t.equal((await readToEnd(client)).end, 'fin', 'the answer is not lost');
      await stopped;
      const grown = peakMemory(proxy) - before;
      t.comment(
        `${pouredByThen / MIB} MiB left the client; the proxy grew by ${grown / MIB} MiB at its peak`,
      );
      t.ok(pouredByThen < 64 * MIB, 'the client had to stop: no more than the socket buffers of the kernel');
      t.ok(grown < 32 * MIB, 'the memory of the proxy is bounded');
    });
  }
});

t.test('early data of a refused request goes nowhere', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, [...FLAGS, '--deny', 'denied.test:*']);
  const early = 'early data';
  const refused = [
    ['denied.test:443', { status: 403, reason: 'destination_denied' }],
    ['127.0.0.1:9', { status: 502, reason: 'connection_refused' }],
    ['no-such-name.test:443', { status: 502, reason: 'dns_error' }],
  ] as const;
  for (const [authority, expected] of refused) {
    checkComplete(t, await refusalOf(t, proxy, connectHead(authority) + early), expected);
    checkComplete(t, await refusalOf(t, proxy, [connectHead(authority), early]), expected);
  }
  const { client, upstream } = await openTunnel(t, proxy, peer);
  client.end('later');
  t.equal((await readToEnd(upstream)).bytes.toString(), 'later');
  t.equal(await proxy.metric('spliceway_tunnel_bytes_total{direction="up",engine="splice"}'), 5);
});

function inParts(bytes: Buffer): readonly Buffer[] {
  const size = Math.ceil(bytes.length / 5);
  return [0, 1, 2, 3, 4]
    .map((i) => bytes.subarray(i * size, (i + 1) * size))
    .filter(({ length }) => length > 0);
}

/** The most memory that the proxy ever had resident, in bytes: proc_pid_status(5), VmHWM. */
function peakMemory(proxy: RunningProxy): number {
  const status = readFileSync(`/proc/${proxy.process.pid}/status`, 'latin1');
  return Number(/^VmHWM:\s+([0-9]+) kB$/m.exec(status)?.[1]) * 1024;
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
