import t, { type Test } from 'tap';
import { type RunningProxy, startProxy } from './fixtures/proxy.js';
import { connectHead, exchange, listenOn, readToEnd } from './fixtures/sockets.js';

/** Addresses of test/run: one where nothing listens, and those that nobody routes. */
const REFUSED = [
  { host: '127.0.0.7', status: 502, reason: 'connection_refused', code: 'ECONNREFUSED' },
  { host: '[fd77::1]', status: 502, reason: 'connection_refused', code: 'ECONNREFUSED' },
  { host: '127.67.0.1', status: 502, reason: 'destination_ip_unroutable', code: 'EHOSTUNREACH' },
  { host: '[fd67::1]', status: 502, reason: 'destination_ip_unroutable', code: 'EHOSTUNREACH' },
] as const;

/** Those that stay silent. */
const SILENT = [
  { host: '127.66.0.1', status: 504, reason: 'connection_timeout', code: 'ETIMEDOUT' },
  { host: '[fd66::1]', status: 504, reason: 'connection_timeout', code: 'ETIMEDOUT' },
] as const;

const ALLOWED = ['--allow', '127.0.0.0/8:*', '--allow', '[fd66::]/15:*', '--allow', '[fd77::]/16:*'];

t.test('an upstream that refuses, or has no route, is told at once with its reason', async (t) => {
  const proxy = await startProxy(t, [...ALLOWED, '--connect-timeout', '50s']);
  for (const failure of REFUSED) {
    const tookMs = await checkFailure(t, proxy, failure);
    t.ok(tookMs < 40_000, `${tookMs.toFixed()} ms: no deadline was waited for`);
  }
  for (const reason of ['connection_refused', 'destination_ip_unroutable'])
    t.equal(await proxy.metric(`spliceway_dial_failures_total{reason="${reason}"}`), 2);
});

t.test('an upstream that stays silent is given up at the deadline', async (t) => {
  const proxy = await startProxy(t, [...ALLOWED, '--connect-timeout', '1s']);
  for (const failure of SILENT) {
    const tookMs = await checkFailure(t, proxy, failure);
    t.ok(tookMs >= 995 && tookMs < 40_000, `${tookMs.toFixed()} ms`);
  }
  t.equal(await proxy.metric('spliceway_dial_failures_total{reason="connection_timeout"}'), 2);
});

t.test('the deadline of the whole dial is kept where that of one address is longer', async (t) => {
  const proxy = await startProxy(t, [...ALLOWED, '--connect-timeout', '1h', '--dial-timeout', '1s']);
  const startedMs = performance.now();
  const answer = await exchange(t, proxy, connectHead('127.66.0.1:443'));
  t.equal(answer.status, 504);
  t.match(
    answer.phrase,
    /^connection_timeout: 127\.66\.0\.1:443 was not reached within 1 s; .*--dial-timeout/,
  );
  const tookMs = performance.now() - startedMs;
  t.ok(tookMs >= 995 && tookMs < 40_000, `${tookMs.toFixed()} ms`);
});

/** Asserts what is told of a dial that fails, and returns how long that took. */
async function checkFailure(
  t: Test,
  proxy: RunningProxy,
  { host, status, reason, code }: (typeof REFUSED | typeof SILENT)[number],
): Promise<number> {
  // Free on every address: what listens there listens on another.
  const { port } = await listenOn(t, '127.0.0.8');
  const startedMs = performance.now();
  const answer = await exchange(t, proxy, connectHead(`${host}:${port}`));
  const tookMs = performance.now() - startedMs;
  t.equal(answer.status, status, host);
  t.match(answer.phrase, new RegExp(`^${reason}: .*${code}`));
  t.match(answer.headers['proxy-status'], `spliceway; error=${reason}; details="${host}:${port} ${code}"`);
  t.equal((await readToEnd(answer.socket)).end, 'fin');
  t.match(await proxy.until(({ target, event }) => event === 'close' && target === `${host}:${port}`), {
    reason,
    code: status,
  });
  return tookMs;
}
