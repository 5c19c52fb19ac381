import t, { type Test } from 'tap';
import { startDnsServer, WITHOUT_ETC, withResolvConf } from './fixtures/dns-server.js';
import { startProxy } from './fixtures/proxy.js';
import { connectHead, exchange, listenOn } from './fixtures/sockets.js';

const FIRST = '127.0.0.55';
const SECOND = '127.0.0.56';
const first = await startDnsServer(t, FIRST);
const second = await startDnsServer(t, SECOND);
const peer = await listenOn(t);

const start = (t: Test, resolvConf: string, flags: readonly string[] = []) =>
  startProxy(t, ['--allow', '127.0.0.0/8:*', ...flags], { under: withResolvConf(t, resolvConf) });

t.test('the next name server is asked where one fails, refuses or is silent', async (t) => {
  // Three attempts, for the answer of a busy server.
  const proxy = await start(t, `nameserver ${FIRST}\nnameserver ${SECOND}\noptions timeout:1 attempts:3\n`);
  const works = () => ({ addresses: ['127.0.0.1'] });
  for (const [name, answer] of [
    ['fails.test', () => ({ rcode: 'SERVFAIL' as const })],
    ['refuses.test', () => ({ rcode: 'REFUSED' as const })],
    ['silent.test', () => 'silent' as const],
  ] as const) {
    first.names.set(name, answer);
    second.names.set(name, works);
    const { status, text } = await exchange(t, proxy, connectHead(`${name}:${peer.port}`));
    t.equal(status, 200, `${name}: ${text}`);
  }
});

t.test('the next name server is not asked for a name that does not exist', async (t) => {
  const proxy = await start(t, `nameserver ${FIRST}\nnameserver ${SECOND}\n`);
  second.names.set('unknown-to-first.test', () => ({ addresses: ['127.0.0.1'] }));
  const { status } = await exchange(t, proxy, connectHead(`unknown-to-first.test:${peer.port}`));
  t.equal(status, 502);
  t.same(
    second.queries.filter(({ name }) => name === 'unknown-to-first.test'),
    [],
  );
});

t.test('ndots and several search domains are honoured, as Kubernetes writes them', async (t) => {
  const proxy = await start(
    t,
    `search ns.svc.cluster.local svc.cluster.local\nnameserver ${FIRST}\noptions ndots:5\n`,
  );
  first.names.set('router.ns.svc.cluster.local', () => ({ addresses: ['127.0.0.1'] }));
  t.equal((await exchange(t, proxy, connectHead(`router.ns:${peer.port}`))).status, 200);
  const asked = first.queries.filter(({ type }) => type === 'A').map(({ name }) => name);
  t.same(asked.slice(-2), ['router.ns.ns.svc.cluster.local', 'router.ns.svc.cluster.local']);

  t.equal((await exchange(t, proxy, connectHead('host.example.test:443'))).status, 502);
  const then = first.queries.filter(({ type }) => type === 'A').map(({ name }) => name);
  t.same(then.slice(-3), [
    'host.example.test.ns.svc.cluster.local',
    'host.example.test.svc.cluster.local',
    'host.example.test',
  ]);
});

t.test('timeout and attempts are honoured', async (t) => {
  const far = ['--dns-timeout', '120s', '--dial-timeout', '120s'];
  const proxy = await start(t, `nameserver ${FIRST}\noptions timeout:1 attempts:1\n`, far);
  first.names.set('mute.test', () => 'silent');
  const startedMs = performance.now();
  const { status, phrase } = await exchange(t, proxy, connectHead('mute.test:443'));
  const ms = performance.now() - startedMs;
  t.equal(status, 504);
  t.match(phrase, /^dns_timeout: /);
  t.ok(ms >= 900 && ms < 60_000, `${ms} ms`);
  t.equal(first.queries.filter(({ name, type }) => name === 'mute.test' && type === 'A').length, 1);
});

t.test('without resolv.conf and hosts, literals work and names are refused', async (t) => {
  const proxy = await startProxy(t, ['--allow', '127.0.0.0/8:*'], { under: WITHOUT_ETC });
  t.equal((await exchange(t, proxy, connectHead(`127.0.0.1:${peer.port}`))).status, 200);
  t.equal((await exchange(t, proxy, connectHead(`localhost:${peer.port}`))).status, 200);
  const { status, phrase } = await exchange(t, proxy, connectHead('dual.test:443'));
  t.equal(status, 502);
  t.match(phrase, 'dns_error: dual.test does not resolve (no name server answers)');
});
