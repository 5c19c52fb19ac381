import t from 'tap';
import { formatAuthority, parseTarget } from '../src/target.js';
import { AUTHORIZATION, startProxy } from './fixtures/proxy.js';
import { checkRefusal, checkRefusalMetrics } from './fixtures/refusals.js';
import { connectHead } from './fixtures/sockets.js';

/** Targets that CONNECT cannot mean, and what the answer says about them. In latin1, so that each byte can be written down. */
const BAD_TARGETS: readonly (readonly [target: string, says: RegExp])[] = [
  // No default port: RFC 9110 §9.3.6.
  ['host.test', /it has no port/],
  ['host.test:', /it has no port/],
  ['[2001:db8::1]', /it has no port/],
  ['[2001:db8::1]:', /it has no port/],
  ['192.0.2.1', /it has no port/],
  ...[
    '0',
    '65536',
    '99999',
    '100000',
    '+443',
    '-443',
    '0x1bb',
    '443x',
    '00443',
    '0443',
    '4_43',
    '4.43',
    '1e3',
  ].map((port) => [`host.test:${port}`, /its port is not a decimal number/] as const),
  ['[2001:db8::1]:0', /its port is not a decimal number/],
  // Something else than host:port.
  ['user:password@host.test:443', /it holds user information/],
  ['user@host.test:443', /it holds user information/],
  ['@host.test:443', /it holds user information/],
  ['http://user:password@host.test:443/', /it holds user information/],
  ['http://host.test:443/', /it is a URL/],
  ['https://host.test', /it is a URL/],
  ['host.test:443/', /its port is not a decimal number/],
  ['host.test:443?', /its port is not a decimal number/],
  ['/', /it has no port/],
  ['*', /it has no port/],
  ['*:443', /neither a name nor an address/],
  ['/:443', /neither a name nor an address/],
  [':443', /it has no host/],
  ['.:443', /it has no host/],
  [':', /it has no port/],
  // IPv6 in other ways than RFC 3986 §3.2.2 writes it.
  ['::1:443', /needs brackets/],
  ['2001:db8::1:443', /needs brackets/],
  ['[fe80::1%25lo]:443', /zone id/],
  ['[fe80::1%lo]:443', /zone id/],
  ['[v1.fe80::a]:443', /what stands in brackets is not an IPv6 address/],
  ['[host.test]:443', /what stands in brackets is not an IPv6 address/],
  ['[127.0.0.1]:443', /what stands in brackets is not an IPv6 address/],
  ['[]:443', /what stands in brackets is not an IPv6 address/],
  ['[::1::]:443', /what stands in brackets is not an IPv6 address/],
  ['[::1:443', /brackets do not enclose/],
  ['[::1]443', /brackets do not enclose/],
  ['[::1]x:443', /brackets do not enclose/],
  ['[[::1]]:443', /brackets do not enclose/],
  ['::1]:443', /needs brackets|neither a name nor an address/],
  // IPv4 in ways that inet_aton(3) reads and others do not.
  ...[
    '127.1',
    '127.0.1',
    '0177.0.0.1',
    '2130706433',
    '0x7f000001',
    '0x7f.0.0.1',
    '127.0.0.01',
    '1.2.3.4.5',
    '256.0.0.1',
    '0x7f.1',
    '017700000001',
  ].map((host) => [`${host}:443`, /looks like an IPv4 address but is not four decimal numbers/] as const),
  // Characters that no name has.
  ...[',', '%41', '!', '$', '&', "'", '(', ')', ';', '=', '~', '+', '*'].map(
    (text) => [`ho${text}st.test:443`, /neither a name nor an address/] as const,
  ),
  ...['#', '?', '/'].map(
    (text) => [`ho${text}st.test:443`, /neither a name nor an address|holds a character that/] as const,
  ),
  ...[
    '\\',
    '"',
    '<',
    '>',
    '^',
    '`',
    '{',
    '|',
    '}',
    '\t',
    '\x00',
    '\x01',
    '\x0b',
    '\x1b',
    '\x7f',
    '\x80',
    '\x9b',
    '\xc3\xa9',
    '\xff',
  ].map(
    (text) => [`ho${text}st.test:443`, /holds a character that neither a name nor an address has/] as const,
  ),
  ['-host.test:443', /neither a name nor an address/],
  ['host-.test:443', /neither a name nor an address/],
  ['host..test:443', /neither a name nor an address/],
  ['.host.test:443', /neither a name nor an address/],
  ['host.test..:443', /neither a name nor an address/],
  // RFC 1035 §2.3.4.
  [`${'a'.repeat(64)}.test:443`, /longer than 63 characters/],
  [`${'a.'.repeat(125)}test:443`, /longer than 253 characters/],
];

t.test('a target that is not host:port is refused with 400, and the answer says what is wrong', async (t) => {
  const proxy = await startProxy(t, ['--allow', '*:*', '--allow', '0.0.0.0/8:*', '--allow', '127.0.0.0/8:*']);
  for (const [target, says] of BAD_TARGETS) {
    await t.test(JSON.stringify(target), async (t) => {
      const request = `CONNECT ${target} HTTP/1.1\r\nHost: host.test\r\n${AUTHORIZATION}\r\n`;
      const { text } = await checkRefusal(t, proxy, request, { status: 400, reason: 'target_invalid', says });
      t.notMatch(text, 'password@', 'a password in the target is not shown');
    });
  }
  await t.test('a space in the target', async (t) => {
    const request = connectHead('ho st.test:443');
    await checkRefusal(t, proxy, request, {
      status: 400,
      reason: 'http_request_error',
      says: /does not parse/,
    });
  });
  await t.test('each is counted, and none was resolved or dialled', async (t) => {
    await checkRefusalMetrics(t, proxy);
    t.equal(await proxy.metric('spliceway_dns_duration_seconds_count'), 0);
    t.equal(await proxy.metric('spliceway_dial_duration_seconds_count'), 0);
    t.notMatch(JSON.stringify(proxy.log), 'password@');
  });
});

t.test('a trailing dot and upper case are gone before the policy sees the name', async (t) => {
  const proxy = await startProxy(t, ['--deny', 'blocked.test:443', '--allow', '*.test:443']);
  for (const spelling of ['blocked.test:443', 'BLOCKED.Test:443', 'blocked.test.:443', 'Blocked.TEST.:443']) {
    await checkRefusal(t, proxy, connectHead(spelling), {
      status: 403,
      reason: 'destination_denied',
      says: 'blocked.test:443 matches deny rule blocked.test:443',
    });
  }
});

t.test('a valid target becomes one host in one spelling', async (t) => {
  const targets: readonly (readonly [string, ReturnType<typeof parseTarget>])[] = [
    ['Host.Test:443', { host: 'host.test', port: 443, family: 0 }],
    ['host.test.:443', { host: 'host.test', port: 443, family: 0, absolute: true }],
    ['localhost:1', { host: 'localhost', port: 1, family: 0 }],
    ['a_b.c.test:65535', { host: 'a_b.c.test', port: 65535, family: 0 }],
    ['xn--bcher-kva.test:443', { host: 'xn--bcher-kva.test', port: 443, family: 0 }],
    ['1.2.3.test:443', { host: '1.2.3.test', port: 443, family: 0 }],
    ['3com.test:443', { host: '3com.test', port: 443, family: 0 }],
    [`${'a'.repeat(63)}.test:443`, { host: `${'a'.repeat(63)}.test`, port: 443, family: 0 }],
    [`${'a.'.repeat(124)}testx:443`, { host: `${'a.'.repeat(124)}testx`, port: 443, family: 0 }],
    [
      `${'a.'.repeat(124)}testx.:443`,
      { host: `${'a.'.repeat(124)}testx`, port: 443, family: 0, absolute: true },
    ],
    ['192.0.2.1:443', { host: '192.0.2.1', port: 443, family: 4 }],
    ['192.0.2.1.:443', { host: '192.0.2.1', port: 443, family: 4 }],
    ['[2001:DB8:0:0::0:1]:443', { host: '2001:db8::1', port: 443, family: 6 }],
    ['[::]:443', { host: '::', port: 443, family: 6 }],
    ['[::1]:443', { host: '::1', port: 443, family: 6 }],
    ['[::ffff:192.0.2.1]:443', { host: '192.0.2.1', port: 443, family: 4 }],
    ['[::ffff:c000:201]:443', { host: '192.0.2.1', port: 443, family: 4 }],
    ['[64:ff9b::192.0.2.1]:443', { host: '64:ff9b::c000:201', port: 443, family: 6 }],
  ];
  for (const [authority, target] of targets) {
    const parsed = parseTarget(authority);
    t.same(parsed, target, authority);
    if ('problem' in parsed) continue;
    const again = formatAuthority(`${parsed.host}${parsed.absolute ? '.' : ''}`, parsed.port);
    t.same(parseTarget(again), parsed, `${again} means the same`);
  }
});
