import t, { type Test } from 'tap';
import { startDnsServer, withResolvConf } from './fixtures/dns-server.js';
import { startProxy } from './fixtures/proxy.js';
import { connectHead, exchange, listenOn, openTunnel } from './fixtures/sockets.js';

/** A name server of this file's own, which may take its time to answer. */
const ADDRESS = '127.0.0.57';
const dns = await startDnsServer(t, ADDRESS);
const resolvConf = `nameserver ${ADDRESS}\nsearch search.test\noptions timeout:30 attempts:1\n`;
const under = withResolvConf(t, resolvConf);
const unhurried = ['--dns-timeout', '60s'];
const proxy = await startProxy(t, ['--allow', '127.0.0.0/8:*', '--allow', '[::1]:*', ...unhurried], {
  under,
});
/** Of both families. */
const peer = await listenOn(t, '::');

const queriesOf = (name: string) => dns.queries.filter((query) => query.name === name);

/** Opens a tunnel to a name and tells what was dialled. */
async function dialledFor(t: Test, name: string, port = peer.port): Promise<unknown> {
  const { status, text, headers, socket } = await exchange(t, proxy, connectHead(`${name}:${port}`));
  t.equal(status, 200, text);
  socket.resetAndDestroy();
  const close = await proxy.until(
    ({ event, tunnel }) => event === 'close' && tunnel === headers['spliceway-tunnel-id'],
  );
  t.type(close.dnsMs, 'number');
  return close.address;
}

t.test('the hosts file comes before DNS, with the addresses in its order', async (t) => {
  dns.names.set('dual.test', () => ({ addresses: ['10.77.0.2'] }));
  t.equal(await dialledFor(t, 'dual.test'), `127.0.0.1:${peer.port}`);
  t.equal(await dialledFor(t, 'DUAL.test'), `127.0.0.1:${peer.port}`);
  t.equal(await dialledFor(t, 'v6.test'), `[::1]:${peer.port}`);
  t.same(queriesOf('dual.test'), []);
});

t.test('localhost and the names below it are loopback, and never asked of DNS', async (t) => {
  dns.names.set('a.localhost', () => ({ addresses: ['10.77.0.2'] }));
  t.equal(await dialledFor(t, 'localhost'), `127.0.0.1:${peer.port}`);
  t.equal(await dialledFor(t, 'a.localhost'), `127.0.0.1:${peer.port}`);
  t.same([...queriesOf('localhost'), ...queriesOf('a.localhost')], []);
});

t.test('DNS is asked for both families; IPv6 goes first, and the other where nothing listens', async (t) => {
  dns.names.set('both.test', () => ({ addresses: ['127.0.0.1', '::1'] }));
  dns.names.set('four.test', () => ({ addresses: ['127.0.0.1'] }));
  dns.names.set('six.test', () => ({ addresses: ['::1'] }));
  t.equal(await dialledFor(t, 'both.test'), `[::1]:${peer.port}`);
  t.equal(await dialledFor(t, 'four.test'), `127.0.0.1:${peer.port}`);
  t.equal(await dialledFor(t, 'six.test'), `[::1]:${peer.port}`);
  t.same(
    queriesOf('both.test')
      .map(({ type }) => type)
      .sort(),
    ['A', 'AAAA'],
  );

  const only4 = await listenOn(t, '127.0.0.1');
  t.equal(await dialledFor(t, 'both.test', only4.port), `127.0.0.1:${only4.port}`);
  const only6 = await listenOn(t, '::1');
  t.equal(await dialledFor(t, 'both.test', only6.port), `[::1]:${only6.port}`);
});

t.test('aliases are followed', async (t) => {
  dns.names.set('alias.test', () => ({ addresses: ['127.0.0.1'], aliases: ['b.test', 'c.test'] }));
  t.equal(await dialledFor(t, 'alias.test'), `127.0.0.1:${peer.port}`);
});

t.test('a truncated answer is asked for again over TCP', async (t) => {
  dns.names.set('long.test', () => ({ addresses: ['127.0.0.1'], truncated: true }));
  t.equal(await dialledFor(t, 'long.test'), `127.0.0.1:${peer.port}`);
  t.ok(queriesOf('long.test').some(({ type, over }) => type === 'A' && over === 'tcp'));
});

t.test(
  'search domains: behind a name without dots at once, behind others when they do not exist',
  async (t) => {
    dns.names.set('short.search.test', () => ({ addresses: ['127.0.0.1'] }));
    t.equal(await dialledFor(t, 'short'), `127.0.0.1:${peer.port}`);
    t.same(queriesOf('short'), [], 'the name alone was not asked for');

    dns.names.set('svc.namespace.search.test', () => ({ addresses: ['127.0.0.1'] }));
    t.equal(await dialledFor(t, 'svc.namespace'), `127.0.0.1:${peer.port}`);
    const asked = dns.queries.map(({ name }) => name);
    t.ok(asked.indexOf('svc.namespace') < asked.indexOf('svc.namespace.search.test'));
    t.ok(asked.includes('svc.namespace'));
  },
);

t.test('a trailing dot keeps the search domains away', async (t) => {
  dns.names.set('gone.search.test', () => ({ addresses: ['127.0.0.1'] }));
  const { status, phrase } = await exchange(t, proxy, connectHead(`gone.:${peer.port}`));
  t.equal(status, 502, phrase);
  t.same(queriesOf('gone.search.test'), []);
  t.equal(await dialledFor(t, 'gone'), `127.0.0.1:${peer.port}`, 'which it would have been found in');
});

t.test('a deny rule holds for a name that a search domain completes', async (t) => {
  dns.names.set('secret.search.test', () => ({ addresses: ['127.0.0.1'] }));
  const rules = ['--allow', '127.0.0.0/8:*', '--deny', 'secret.search.test:*'];
  const strict = await startProxy(t, [...rules, ...unhurried], { under });
  const { status, phrase } = await exchange(t, strict, connectHead(`secret:${peer.port}`));
  t.equal(status, 403);
  t.match(phrase, /^destination_denied: .*deny rule secret\.search\.test/);
});

t.test('a name without an address is refused, and the reply says how DNS put it', async (t) => {
  dns.names.set('empty.test', () => ({ addresses: [] }));
  dns.names.set('servfail.test', () => ({ rcode: 'SERVFAIL' }));
  dns.names.set('refused.test', () => ({ rcode: 'REFUSED' }));
  for (const [name, words] of [
    ['missing.test', 'NXDOMAIN'],
    ['empty.test', 'it has no address'],
    ['servfail.test', 'SERVFAIL'],
    ['refused.test', 'REFUSED'],
  ] as const) {
    const { status, phrase, headers } = await exchange(t, proxy, connectHead(`${name}:443`));
    t.equal(status, 502, name);
    t.match(phrase, `dns_error: ${name} does not resolve (${words}); check the name`);
    t.equal(
      headers['proxy-status'],
      `spliceway; error=dns_error; details="${name} does not resolve (${words})"`,
    );
  }
});

t.test('one family that fails does not spoil the other', async (t) => {
  dns.names.set('half.test', ({ type }) =>
    type === 'AAAA' ? { rcode: 'SERVFAIL' } : { addresses: ['127.0.0.1'] },
  );
  t.equal(await dialledFor(t, 'half.test'), `127.0.0.1:${peer.port}`);
});

t.test('the address that was vetted is the one that is dialled: the name is asked for once', async (t) => {
  let answers = 0;
  dns.names.set('rebind.test', ({ type }) => {
    if (type === 'AAAA') return { addresses: [] };
    answers += 1;
    return { addresses: [answers === 1 ? '127.0.0.1' : '169.254.169.254'] };
  });
  const { client } = await openTunnel(t, proxy, { ...peer, host: 'rebind.test' });
  t.same(
    queriesOf('rebind.test')
      .map(({ type }) => type)
      .sort(),
    ['A', 'AAAA'],
  );
  client.destroy();

  const again = await exchange(t, proxy, connectHead('rebind.test:443'));
  t.equal(again.status, 403, 'a new request gets the new answer, and has it vetted');
  t.match(again.phrase, /^destination_ip_prohibited: .*169\.254\.169\.254/);
});

t.test('thousands of lookups leave no descriptor and no memory behind', async (t) => {
  // Denied once it is resolved, so that nothing but the lookup costs anything.
  dns.names.set('often.test', () => ({ addresses: ['169.254.169.254'] }));
  const lookUp = async (count: number) => {
    for (let done = 0; done < count; done += 20) {
      const batch = Array.from({ length: 20 }, () => exchange(t, proxy, connectHead('often.test:443')));
      for (const { status, socket } of await Promise.all(batch)) {
        if (status !== 403) t.fail(`status ${status}`);
        socket.destroy();
      }
    }
    const resident = await proxy.metric('process_resident_memory_bytes');
    return {
      descriptors: await proxy.metric('process_open_fds'),
      // What JavaScript holds comes and goes with its garbage collector; a resolver that is left behind holds memory of C.
      nativeBytes: resident - (await proxy.metric('nodejs_heap_size_total_bytes')),
    };
  };
  const before = await lookUp(1000);
  const after = await lookUp(2000);
  t.comment(`${JSON.stringify(before)} after 1000, ${JSON.stringify(after)} after 3000`);
  t.ok(after.descriptors < before.descriptors + 10, 'descriptors');
  t.ok(after.nativeBytes < before.nativeBytes + 4 * 1024 * 1024, 'memory');
});

t.test('the DNS histogram counts the lookups, and the failures by reason', async (t) => {
  const [lookups, failures] = [
    await proxy.metric('spliceway_dns_duration_seconds_count'),
    await proxy.metric('spliceway_dns_failures_total{reason="dns_error"}'),
  ];
  await exchange(t, proxy, connectHead('absent.test:443'));
  await proxy.until(({ event, target }) => event === 'close' && target === 'absent.test:443');
  t.equal(await proxy.metric('spliceway_dns_duration_seconds_count'), lookups + 1);
  t.equal(await proxy.metric('spliceway_dns_failures_total{reason="dns_error"}'), failures + 1);
});
