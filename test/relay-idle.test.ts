import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { resetNow } from '../src/relay/reset.js';
import { receiveAll } from './fixtures/endings.js';
import { writeUntilStopped } from './fixtures/flood.js';
import { eachRelay, eachRelayBothWays, type RelayPair, type Side } from './fixtures/relay-pair.js';
import { readBytes } from './fixtures/sockets.js';

/** Long enough for a busy machine to send a byte in between. */
const TIMEOUT_MS = 3000;
/** Timers count in whole milliseconds. */
const IN_TIME_MS = TIMEOUT_MS - 5;
const MUCH = Buffer.alloc(64 * 1024 * 1024);
const RESET = { bytes: Buffer.alloc(0), end: 'reset' };

// These tests wait more than they work: all of them at once.
t.jobs = 66;

eachRelay(
  'a tunnel that is silent both ways is reset on both sides, not before its time',
  async (t, relay) => {
    const startedMs = performance.now();
    const { client, upstream, end } = await relay.pair(t, { idleTimeoutMs: TIMEOUT_MS });
    t.same(await Promise.all([receiveAll(client), receiveAll(upstream)]), [RESET, RESET]);
    t.same(await end, { cause: 'idle_timeout' });
    t.ok(performance.now() - startedMs >= IN_TIME_MS);
  },
);

eachRelayBothWays('bytes from the {one} alone keep the tunnel alive', async (t, relay, one, other) => {
  const pair = await relay.pair(t, { idleTimeoutMs: TIMEOUT_MS });
  const lastMs = await trickle(pair, one, other, 1.5 * TIMEOUT_MS);
  t.same(await receiveAll(pair[one]), RESET, 'and the silence after them ends it');
  t.same(await pair.end, { cause: 'idle_timeout' });
  t.ok(performance.now() - lastMs >= IN_TIME_MS);
});

eachRelayBothWays(
  'after the end of file of the {one}, it is inactivity that ends the tunnel',
  async (t, relay, one, other) => {
    const pair = await relay.pair(t, { idleTimeoutMs: 120_000, halfCloseTimeoutMs: TIMEOUT_MS });
    pair[one].end();
    t.same(await receiveAll(pair[other]), { bytes: Buffer.alloc(0), end: 'fin' });
    const lastMs = await trickle(pair, other, one, 1.5 * TIMEOUT_MS);
    t.same(await receiveAll(pair[one]), RESET);
    t.same(await pair.end, { cause: 'half_close_timeout' });
    t.ok(performance.now() - lastMs >= IN_TIME_MS);
  },
);

eachRelay('the time of a half-close does not count while both halves are open', async (t, relay) => {
  const pair = await relay.pair(t, { idleTimeoutMs: TIMEOUT_MS, halfCloseTimeoutMs: TIMEOUT_MS / 10 });
  t.same(await pair.end, { cause: 'idle_timeout' });
});

eachRelay('0 is never, and so is more than a timer of Node holds', async (t, relay) => {
  const warnings: Error[] = [];
  const warned = (warning: Error) => warnings.push(warning);
  process.on('warning', warned);
  t.teardown(() => void process.off('warning', warned));
  const patient = await Promise.all([
    relay.pair(t),
    relay.pair(t, { idleTimeoutMs: 2 ** 40, halfCloseTimeoutMs: 2 ** 40 }),
  ]);
  for (const { client, upstream } of patient) {
    client.end();
    t.same(await receiveAll(upstream), { bytes: Buffer.alloc(0), end: 'fin' });
  }
  const impatient = await relay.pair(t, { idleTimeoutMs: TIMEOUT_MS });
  t.same(await impatient.end, { cause: 'idle_timeout' });
  for (const { client, upstream } of patient) {
    upstream.write('still here');
    t.equal((await readBytes(client, 10)).toString(), 'still here');
  }
  t.same(warnings, []);
});

eachRelayBothWays('the {other} that has stalled does not keep the tunnel', async (t, relay, one, other) => {
  const pair = await relay.pair(t, { idleTimeoutMs: TIMEOUT_MS });
  await writeUntilStopped(pair[one], MUCH);
  const closed = once(pair[one], 'close').catch(() => {});
  t.same(await pair.end, { cause: 'idle_timeout' });
  await closed;
  t.equal((await receiveAll(pair[other])).end, 'reset');
});

eachRelayBothWays(
  'nor does it when the reset of the {one} waits for it; the cause stays the reset',
  async (t, relay, one) => {
    const pair = await relay.pair(t, { idleTimeoutMs: TIMEOUT_MS });
    await writeUntilStopped(pair[one], MUCH);
    pair[one === 'client' ? 'upstream' : 'client'].write('noticed by writing');
    resetNow(pair[one]);
    t.same(await pair.end, { cause: `${one}_reset` });
    t.ok(pair.inner.client.destroyed && pair.inner.upstream.destroyed);
  },
);

/**
 * Sends a byte now and then for so long, each once the one before has arrived.
 *
 * @returns when the last was sent
 */
async function trickle(pair: RelayPair, from: Side, to: Side, forMs: number): Promise<number> {
  const startedMs = performance.now();
  for (;;) {
    const sentMs = performance.now();
    pair[from].write('.');
    await readBytes(pair[to], 1);
    if (sentMs - startedMs >= forMs) return sentMs;
    await sleep(TIMEOUT_MS / 30);
  }
}
