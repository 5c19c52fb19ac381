import { execFileSync } from 'node:child_process';
import t, { type Test } from 'tap';
import { TunnelError } from '../src/reasons.js';
import { interleaveFamilies, raceAddresses } from '../src/upstream/race.js';
import { holdTimers } from './fixtures/held-timers.js';
import { startProxy } from './fixtures/proxy.js';
import { connectHead, exchange, listenOn } from './fixtures/sockets.js';

/** Addresses of test/run: packets to the first two are dropped, to the third answered with ICMP. */
const SILENT = '127.66.0.1';
const SILENT_6 = 'fd66::1';
const UNREACHABLE = '127.67.0.1';
/** Nothing listens there at the ports of these tests. */
const CLOSED = '127.0.0.2';

/** Races and tells the winner, or the failure, and how long it took. */
async function race(
  t: Test,
  addresses: readonly string[],
  options: { readonly port: number; readonly connectTimeoutMs?: number; readonly signal?: AbortSignal },
): Promise<{ readonly address?: string; readonly error?: unknown; readonly ms: number }> {
  const { port, connectTimeoutMs = 60_000, signal = new AbortController().signal } = options;
  const startedMs = performance.now();
  const outcome = await raceAddresses(addresses, { port, connectTimeoutMs }, signal).then(
    ({ socket, address }) => {
      t.teardown(() => void socket.destroy());
      return { address };
    },
    (error: unknown) => ({ error }),
  );
  return { ...outcome, ms: performance.now() - startedMs };
}

/** Connections to this port that are still being made, as the kernel sees it. */
function beingMade(port: number): number {
  const out = execFileSync('ss', ['-Htn', 'state', 'syn-sent', `dport = :${port}`], { encoding: 'utf8' });
  return out.split('\n').filter((line) => line !== '').length;
}

t.test('the families take turns, beginning with that of the first address', async (t) => {
  for (const [given, expected] of [
    [[], []],
    [['a'], ['a']],
    [
      ['1::', '2::', 'a', 'b'],
      ['1::', 'a', '2::', 'b'],
    ],
    [
      ['a', 'b', 'c', '1::'],
      ['a', '1::', 'b', 'c'],
    ],
    [
      ['1::', '2::'],
      ['1::', '2::'],
    ],
  ] as const) {
    t.same(interleaveFamilies(given), expected);
  }
});

t.test('an address that stays silent has company after 250 ms', async (t) => {
  const attemptDelay = holdTimers(t, 250);
  for (const [silent, host] of [
    [SILENT, '127.0.0.1'],
    [SILENT_6, '127.0.0.1'],
    [SILENT, '::1'],
  ] as const) {
    const { port } = await listenOn(t, host);
    const racing = race(t, [silent, host], { port });
    await new Promise((resolve) => setImmediate(resolve));
    t.equal(beingMade(port), 1, 'alone until then');
    t.equal(attemptDelay.waiting, 1);
    attemptDelay.release();
    t.equal((await racing).address, host);
  }
});

t.test('an address that fails is followed by the next at once', { timeout: 30_000 }, async (t) => {
  // Nobody is waited for, then.
  holdTimers(t, 250);
  const { port } = await listenOn(t);
  for (const failing of [CLOSED, UNREACHABLE]) {
    const { address } = await race(t, [failing, failing, '127.0.0.1'], { port });
    t.equal(address, '127.0.0.1', failing);
  }
});

t.test('the winner closes the others', async (t) => {
  const peer = await listenOn(t);
  const racing = race(t, [SILENT, SILENT_6, '127.0.0.1'], peer);
  await peer.next();
  t.equal((await racing).address, '127.0.0.1');
  t.equal(beingMade(peer.port), 0);
});

t.test('an abort closes all of them, and its reason is the failure', async (t) => {
  const stop = new AbortController();
  const { port } = await listenOn(t, '127.0.0.3');
  const racing = race(t, [SILENT, SILENT_6], { port, signal: stop.signal });
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(beingMade(port), 1);
  stop.abort(new Error('enough'));
  const { error, ms } = await racing;
  t.match(error, { message: 'enough' });
  t.ok(ms < 30_000, `${ms} ms`);
  t.equal(beingMade(port), 0);
  t.match(await race(t, ['127.0.0.3'], { port, signal: stop.signal }), { error: { message: 'enough' } });
});

t.test('where all fail, the failure is the most telling one, and names every address', async (t) => {
  const { port } = await listenOn(t, '127.0.0.4');
  const cases = [
    [[CLOSED], 'connection_refused', ['ECONNREFUSED']],
    [['::1'], 'connection_refused', ['ECONNREFUSED']],
    [[UNREACHABLE], 'destination_ip_unroutable', ['EHOSTUNREACH']],
    [['fd67::1'], 'destination_ip_unroutable', ['EHOSTUNREACH']],
    [[SILENT], 'connection_timeout', ['ETIMEDOUT']],
    [[SILENT, CLOSED], 'connection_refused', ['ECONNREFUSED', 'ETIMEDOUT']],
    [[UNREACHABLE, SILENT], 'connection_timeout', ['EHOSTUNREACH', 'ETIMEDOUT']],
  ] as const;
  const failureOf = async ([addresses, reason, codes]: (typeof cases)[number]) => {
    // Long enough for the others to fail in their own way before it.
    const { error } = await race(t, addresses, { port, connectTimeoutMs: 2000 });
    if (!(error instanceof TunnelError)) throw error;
    t.equal(error.reason, reason, addresses.join(' '));
    for (const address of addresses) t.match(error.message, `${address.replace(/^.*:.*$/, '[$&]')}:${port}`);
    for (const code of codes) t.match(error.message, code);
  };
  await Promise.all(cases.map(failureOf));
});

t.test('each address has its own deadline', async (t) => {
  const { port } = await listenOn(t, '127.0.0.5');
  const { ms } = await race(t, [SILENT, SILENT_6], { port, connectTimeoutMs: 400 });
  t.ok(ms >= 645, `${ms} ms: the second began after 250 ms`);
  t.equal(beingMade(port), 0);
});

t.test('a name whose first address is a black hole opens nevertheless, through the proxy', async (t) => {
  const rules = ['--allow', '127.0.0.0/8:*', '--allow', '[::]/0:*'];
  const proxy = await startProxy(t, [...rules, '--connect-timeout', '120s', '--dial-timeout', '120s']);
  const { port } = await listenOn(t);
  const startedMs = performance.now();
  const { status, socket } = await exchange(t, proxy, connectHead(`blackhole-first.test:${port}`));
  t.equal(status, 200);
  t.ok(performance.now() - startedMs < 60_000, 'long before the black hole is given up');
  socket.resetAndDestroy();
  const close = await proxy.until(({ event }) => event === 'close');
  t.equal(close.address, `127.0.0.1:${port}`);
  t.ok(Number(close.connectMs) >= 245, `connectMs ${close.connectMs}`);
  t.equal(await proxy.metric('spliceway_dial_duration_seconds_bucket{le="0.1"}'), 0);
  t.equal(await proxy.metric('spliceway_dial_duration_seconds_bucket{le="60"}'), 1);
});
