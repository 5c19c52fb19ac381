import t from 'tap';
import { startDnsServer, withResolvConf } from './fixtures/dns-server.js';
import { eventually, socketsOf } from './fixtures/process-state.js';
import { startProxy } from './fixtures/proxy.js';
import { connectHead, connectRaw, exchange, listenOn } from './fixtures/sockets.js';

const ADDRESS = '127.0.0.54';
const dns = await startDnsServer(t, ADDRESS);
/** c-ares asks every 5 s at most, so that nothing of its own ends a query before spliceway does. */
const under = withResolvConf(t, `nameserver ${ADDRESS}\noptions timeout:30 attempts:5\n`);
const flags = ['--allow', '127.0.0.0/8:*', '--allow', '[::1]:*'];
/** No deadline of spliceway's comes while a test runs. */
const patience = ['--dns-timeout', '120s', '--dial-timeout', '120s'];
const proxy = await startProxy(t, [...flags, ...patience], { under });
/** Where only c-ares ends a query it takes longer than this, and nothing else does, however busy the machine. */
const LATE_MS = 15_000;
/** Of both families. */
const peer = await listenOn(t, '::');

dns.names.set('live.test', () => ({ addresses: ['127.0.0.1'] }));
const silence = (name: string) => dns.names.set(name, () => 'silent');

async function timed<T>(work: Promise<T>): Promise<{ readonly result: T; readonly ms: number }> {
  const startedMs = performance.now();
  return { result: await work, ms: performance.now() - startedMs };
}

t.test('a name server that never answers is given up at the deadline, with 504 and what to do', async (t) => {
  const impatient = await startProxy(t, [...flags, '--dns-timeout', '400ms'], { under });
  silence('dead.test');
  const { result, ms } = await timed(exchange(t, impatient, connectHead('dead.test:443')));
  t.equal(result.status, 504);
  t.equal(
    result.phrase,
    'dns_timeout: DNS did not answer for dead.test in time; check the name servers where the proxy runs, or raise --dns-timeout',
  );
  t.ok(ms >= 395 && ms < LATE_MS, `${ms} ms`);
  const close = await impatient.until(({ event }) => event === 'close');
  t.match(close, { reason: 'dns_timeout', code: 504, level: 'warn' });
  t.ok(Number(close.dnsMs) >= 395, `dnsMs ${close.dnsMs}`);
  t.equal(await impatient.metric('spliceway_dns_failures_total{reason="dns_timeout"}'), 1);
  t.equal(await impatient.metric('spliceway_dns_duration_seconds_count'), 1);
});

t.test('where the deadline of the whole dial comes first, it is DNS that is blamed', async (t) => {
  const impatient = await startProxy(t, [...flags, '--dial-timeout', '300ms'], { under });
  silence('dead.test');
  const { status, phrase } = await exchange(t, impatient, connectHead('dead.test:443'));
  t.equal(status, 504);
  t.match(phrase, 'dns_timeout: dead.test:443 was not reached within 0.3 s; check DNS');
});

t.test('while fifty dials hang on a dead name server, others go their way', async (t) => {
  const names = Array.from({ length: 50 }, (_, at) => `dead-${at}.test`);
  for (const name of names) {
    silence(name);
    const client = await connectRaw(t, proxy);
    client.write(connectHead(`${name}:443`));
  }
  await Promise.all(names.map((name) => dns.asked(name)));
  for (const authority of [
    `dual.test:${peer.port}`,
    `live.test:${peer.port}`,
    `127.0.0.1:${peer.port}`,
    `[::1]:${peer.port}`,
  ]) {
    t.equal((await exchange(t, proxy, connectHead(authority))).status, 200, authority);
  }
  t.same(
    proxy.log.filter(({ event, target }) => event === 'close' && String(target).startsWith('dead-')),
    [],
    'all fifty still hang',
  );
});

t.test('a client that leaves takes its queries along', async (t) => {
  const unhurried = await startProxy(t, [...flags, ...patience], { under });
  const before = socketsOf(unhurried.process);
  silence('left.test');
  const client = await connectRaw(t, unhurried);
  client.write(connectHead('left.test:443'));
  await dns.asked('left.test');
  t.equal(socketsOf(unhurried.process), before + 2, 'the client and the query');
  client.destroy();
  const { result, ms } = await timed(unhurried.until(({ event }) => event === 'close'));
  t.match(result, { reason: 'client_gone', code: 499 });
  t.ok(ms < LATE_MS, `${ms} ms`);
  const left = await eventually(
    () => socketsOf(unhurried.process),
    (count) => count <= before,
  );
  t.equal(left, before);
});

t.test('a name server that ignores AAAA queries costs a second, not the deadline', async (t) => {
  dns.names.set('no-aaaa.test', ({ type }) => (type === 'AAAA' ? 'silent' : { addresses: ['127.0.0.1'] }));
  const { result, ms } = await timed(exchange(t, proxy, connectHead(`no-aaaa.test:${peer.port}`)));
  t.equal(result.status, 200);
  t.ok(ms < LATE_MS, `${ms} ms`);
});

t.test('a name server that ignores A queries is waited for, and IPv6 used in the end', async (t) => {
  const impatient = await startProxy(t, [...flags, '--dns-timeout', '2s'], { under });
  dns.names.set('no-a.test', ({ type }) => (type === 'A' ? 'silent' : { addresses: ['::1'] }));
  const { result, ms } = await timed(exchange(t, impatient, connectHead(`no-a.test:${peer.port}`)));
  t.equal(result.status, 200);
  t.ok(ms >= 1995, `${ms} ms`);
});
