import t from 'tap';
import { startProxy } from './fixtures/proxy.js';
import { connectHead, exchange, listenOn, readToEnd } from './fixtures/sockets.js';

/** Addresses of test/run: one where nothing listens, those that nobody routes, and those that stay silent. */
const FAILURES = [
  { host: '127.0.0.9', status: 502, reason: 'connection_refused', code: 'ECONNREFUSED' },
  { host: '[fd77::1]', status: 502, reason: 'connection_refused', code: 'ECONNREFUSED' },
  { host: '127.67.0.1', status: 502, reason: 'destination_ip_unroutable', code: 'EHOSTUNREACH' },
  { host: '[fd67::1]', status: 502, reason: 'destination_ip_unroutable', code: 'EHOSTUNREACH' },
  { host: '127.66.0.1', status: 504, reason: 'connection_timeout', code: 'ETIMEDOUT' },
  { host: '[fd66::1]', status: 504, reason: 'connection_timeout', code: 'ETIMEDOUT' },
] as const;

const ALLOWED = ['--allow', '127.0.0.0/8:*', '--allow', '[fd66::]/15:*', '--allow', '[fd77::]/16:*'];

t.test('an upstream that cannot be reached is told with its reason, within the deadline', async (t) => {
  const proxy = await startProxy(t, [...ALLOWED, '--connect-timeout', '1s']);
  // Free on every address: what listens there listens on another.
  const { port } = await listenOn(t, '127.0.0.8');
  for (const { host, status, reason, code } of FAILURES) {
    const startedMs = performance.now();
    const answer = await exchange(t, proxy, connectHead(`${host}:${port}`));
    const tookMs = performance.now() - startedMs;
    t.equal(answer.status, status, host);
    t.match(answer.phrase, new RegExp(`^${reason}: .*${code}`));
    t.match(answer.headers['proxy-status'], `spliceway; error=${reason}; details="${host}:${port} ${code}"`);
    t.equal((await readToEnd(answer.socket)).end, 'fin');
    t.ok(status === 504 ? tookMs >= 995 && tookMs < 3000 : tookMs < 900, `${tookMs.toFixed()} ms`);
    t.match(await proxy.until(({ target, event }) => event === 'close' && target === `${host}:${port}`), {
      reason,
      code: status,
    });
  }
  for (const reason of ['connection_refused', 'destination_ip_unroutable', 'connection_timeout']) {
    t.equal(await proxy.metric(`spliceway_dial_failures_total{reason="${reason}"}`), 2);
  }
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
  t.ok(tookMs >= 995 && tookMs < 3000, `${tookMs.toFixed()} ms`);
});
