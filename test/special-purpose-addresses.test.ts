import ipaddr from 'ipaddr.js';
import t, { type Test } from 'tap';
import { SPECIAL_RANGES } from '../src/access/addresses.js';
import { eventually } from './fixtures/process-state.js';
import { type RunningProxy, startProxy } from './fixtures/proxy.js';
import { checkRefusal, checkRefusalMetrics } from './fixtures/refusals.js';
import { connectHead, exchange, listenOn, openTunnel } from './fixtures/sockets.js';

/** Every name and address, as far as a rule can say so without naming a range. */
const EVERYTHING = ['--allow', '*:*'];

const PROHIBITED = { status: 403, reason: 'destination_ip_prohibited', says: /is special-purpose/ } as const;
const IS_PROXY = { status: 403, reason: 'destination_is_proxy', says: /is this proxy itself/ } as const;

/** What must not be reached, written out: the table of the product is not to vouch for itself. */
const SPECIAL: Readonly<Record<string, readonly string[]>> = {
  loopback: ['127.0.0.1', '127.0.0.2', '127.255.255.254', '[::1]', '[0:0:0:0:0:0:0:1]'],
  'link-local': ['169.254.0.1', '169.254.255.254', '[fe80::1]', '[febf::1]'],
  'cloud metadata': [
    '169.254.169.254',
    '169.254.170.2',
    '[fd00:ec2::254]',
    '[fd20:ce::254]',
    '192.0.0.192',
    '100.100.100.200',
    '168.63.129.16',
  ],
  unspecified: ['0.0.0.0', '0.0.0.1', '[::]'],
  broadcast: ['255.255.255.255'],
  multicast: ['224.0.0.1', '239.255.255.255', '[ff02::1]', '[ff0e::1]'],
  'documentation and benchmarks': [
    '192.0.2.1',
    '198.51.100.1',
    '203.0.113.1',
    '198.18.0.1',
    '198.19.255.255',
    '[2001:db8::1]',
    '[3fff::1]',
    '[2001:2::1]',
  ],
  reserved: ['240.0.0.1', '[100::1]', '[fec0::1]', '[2001:10::1]', '[2001:20::1]', '[5f00::1]'],
  'IPv4-mapped': ['[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[::ffff:169.254.169.254]', '[::ffff:0.0.0.0]'],
  'IPv4-translated': ['[::ffff:0:127.0.0.1]', '[::ffff:0:a9fe:a9fe]'],
  'IPv4-compatible': ['[::127.0.0.1]', '[::7f00:1]', '[::a9fe:a9fe]'],
  NAT64: ['[64:ff9b::127.0.0.1]', '[64:ff9b::a9fe:a9fe]', '[64:ff9b:1::7f00:1]'],
  '6to4': ['[2002:7f00:1::]', '[2002:a9fe:a9fe::1]', '[2002:7f00:1:ffff:ffff:ffff:ffff:ffff]'],
  // The second has the address of the client in it, inverted.
  Teredo: ['[2001:0:7f00:1::]', '[2001:0:808:808:0:0:80ff:fffe]'],
  ISATAP: ['[2600::5efe:7f00:1]', '[2600::200:5efe:a9fe:a9fe]', '[fd77::5efe:127.0.0.1]'],
  'names of such addresses': [
    'localhost',
    'localhost.',
    'LOCALHOST',
    'any.thing.localhost',
    'dual.test',
    'v4.test',
    'v6.test',
    'metadata.test',
    'Metadata.Test.',
  ],
};

t.test('special-purpose addresses are refused, though every name is allowed', async (t) => {
  const proxy = await startProxy(t, EVERYTHING);
  for (const [kind, hosts] of Object.entries(SPECIAL)) {
    await t.test(kind, async (t) => {
      for (const host of hosts) {
        for (const port of [80, 443])
          await checkRefusal(t, proxy, connectHead(`${host}:${port}`), PROHIBITED);
      }
    });
  }
  await t.test('the ends of every range of the table', async (t) => {
    for (const { range } of SPECIAL_RANGES) {
      for (const host of endsOf(range.network, range.prefix)) {
        await checkRefusal(t, proxy, connectHead(`${host}:443`), PROHIBITED);
      }
    }
  });
  await t.test('nothing was dialled', async (t) => {
    t.equal(await proxy.metric('spliceway_dial_duration_seconds_count'), 0);
    await checkRefusalMetrics(t, proxy);
    const refused = await proxy.metric('spliceway_policy_refusals_total{reason="destination_ip_prohibited"}');
    const records = () => proxy.log.filter(({ reason }) => reason === PROHIBITED.reason).length;
    t.equal(await eventually(records, (count) => count >= refused), refused);
  });
});

t.test('without rules they are refused as well', async (t) => {
  const proxy = await startProxy(t);
  for (const host of [
    '127.0.0.1',
    '[::1]',
    '169.254.169.254',
    'localhost',
    'metadata.test',
    '[64:ff9b::7f00:1]',
  ]) {
    for (const port of [443, 6443]) await checkRefusal(t, proxy, connectHead(`${host}:${port}`), PROHIBITED);
  }
});

t.test('of a name with good and bad addresses, only the good ones are dialled', async (t) => {
  const peer = await listenOn(t, '10.77.0.1');
  const proxy = await startProxy(t, EVERYTHING);
  const answer = await exchange(t, proxy, connectHead(`mixed.test:${peer.port}`));
  t.equal(answer.status, 200, answer.text);
  (await peer.next()).destroy();
  answer.socket.destroy();
  const close = await proxy.until(({ event }) => event === 'close');
  t.equal(close.address, `10.77.0.1:${peer.port}`);

  await t.test('and with a deny rule for those, none is left', async (t) => {
    const proxy = await startProxy(t, [...EVERYTHING, '--deny', '10.0.0.0/8:*']);
    const { statusLine } = await checkRefusal(t, proxy, connectHead(`mixed.test:${peer.port}`), PROHIBITED);
    t.match(statusLine, 'mixed.test');
  });
});

t.test('private addresses are governed by the rules alone', async (t) => {
  for (const host of ['10.77.0.1', '100.64.77.1', 'fd77::1']) {
    const peer = await listenOn(t, host);
    const name = host.includes(':') ? `[${host}]` : host;
    for (const allow of [`*:${peer.port}`, `${name}:${peer.port}`]) {
      const proxy = await startProxy(t, ['--allow', allow]);
      const { client, upstream } = await openTunnel(t, proxy, peer);
      client.destroy();
      upstream.destroy();
    }
    const proxy = await startProxy(t, ['--allow', `host.test:${peer.port}`]);
    await checkRefusal(t, proxy, connectHead(`${name}:${peer.port}`), {
      status: 403,
      reason: 'destination_denied',
    });
  }
});

t.test('a rule with a range opens that range and no other', async (t) => {
  // Both families at one port.
  const peer = await listenOn(t, '::');
  const four = { head: connectHead(`127.0.0.1:${peer.port}`), reached: '::ffff:127.0.0.1' };
  const six = { head: connectHead(`[::1]:${peer.port}`), reached: '::1' };
  for (const [allow, open, closed] of [
    ['127.0.0.0/8:*', four, six],
    ['[::1]:*', six, four],
  ] as const) {
    await t.test(allow, async (t) => {
      const proxy = await startProxy(t, ['--allow', allow]);
      await checkRefusal(t, proxy, closed.head, PROHIBITED);
      // Of a name's addresses, the one in the range.
      for (const head of [open.head, connectHead(`dual.test:${peer.port}`)]) {
        t.equal((await exchange(t, proxy, head)).status, 200);
        const upstream = await peer.next();
        t.equal(upstream.localAddress, open.reached);
        upstream.destroy();
      }
    });
  }
  await t.test('a range round it does not', async (t) => {
    const proxy = await startProxy(t, ['--allow', '0.0.0.0/0:*', '--allow', '[::]/0:*']);
    for (const { head } of [four, six]) await checkRefusal(t, proxy, head, PROHIBITED);
  });
});

t.test('the proxy never dials its own listeners, whatever is allowed', async (t) => {
  const ranges = ['0.0.0.0/8', '127.0.0.0/8', '[::]', '[::1]'].flatMap((range) => ['--allow', `${range}:*`]);
  const loopback = ['127.0.0.1', '0.0.0.0', '[::ffff:127.0.0.1]', '[64:ff9b::127.0.0.1]', 'v4.test'];
  const everywhere = [...loopback, 'localhost', '127.0.0.2', '10.77.0.1', '100.64.77.1', 'private.test'];
  const six = ['[::1]', '[::]', 'v6.test'];
  const listeners = [
    { listen: '127.0.0.1:0', hosts: loopback },
    { listen: '[::1]:0', hosts: six },
    { listen: '0.0.0.0:0', hosts: everywhere },
    { listen: '[::]:0', hosts: [...everywhere, ...six, '[fd77::1]'] },
  ];
  for (const { listen, hosts } of listeners) {
    await t.test(listen, async (t) => {
      const flags = [...EVERYTHING, ...ranges];
      const proxy = await startProxy(t, [...flags, '--listen', listen]);
      await checkOwn(t, proxy, hosts, proxy.port);
    });
    await t.test(`${listen}, of the admin listener`, async (t) => {
      const proxy = await startProxy(t, [...EVERYTHING, ...ranges, '--admin', listen]);
      await checkOwn(t, proxy, hosts, Number(proxy.admin.replace(/^.*:/, '')));
    });
  }
});

async function checkOwn(t: Test, proxy: RunningProxy, hosts: readonly string[], port: number): Promise<void> {
  for (const host of hosts) {
    const { body } = await checkRefusal(t, proxy, connectHead(`${host}:${port}`), IS_PROXY);
    t.match(body, 'connect to the destination, not to the proxy', host);
  }
}

function endsOf(network: ipaddr.IPv4 | ipaddr.IPv6, prefix: number): readonly string[] {
  const first = network.toByteArray();
  const last = first.map((byte, i) => byte | (0xff >> Math.min(Math.max(prefix - i * 8, 0), 8)));
  return [first, last]
    .map((bytes) => ipaddr.fromByteArray([...bytes]).toString())
    .map((text) => (text.includes(':') ? `[${text}]` : text));
}
