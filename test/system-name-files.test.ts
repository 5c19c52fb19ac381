import t from 'tap';
import { addressesIn, candidates, parseResolvConf } from '../src/upstream/resolve.js';

t.test('the hosts file is read as hosts(5) says', async (t) => {
  const hosts = [
    '# 127.0.0.9 name.test',
    '127.0.0.1\tlocalhost  name.test alias.test # other.test',
    '::1 name.test',
    '   10.0.0.1   NAME.TEST.   ',
    '127.0.0.1 name.test',
    '10.0.0.2 crlf.test\r',
    '10.0.0.3',
    '127.1 name.test',
    '300.0.0.1 name.test',
    'name.test 10.0.0.4',
    '10.0.0.5 prefix-name.test name.test.example',
    '2001:DB8::1 upper.test',
    '',
  ].join('\n');
  for (const [name, addresses] of [
    ['name.test', ['127.0.0.1', '::1', '10.0.0.1']],
    ['alias.test', ['127.0.0.1']],
    ['crlf.test', ['10.0.0.2']],
    ['upper.test', ['2001:DB8::1']],
    ['other.test', []],
    ['10.0.0.3', []],
    ['test', []],
  ] as const)
    t.same(addressesIn(hosts, name), addresses, name);
  t.same(addressesIn('', 'name.test'), []);
});

t.test('resolv.conf is read as resolv.conf(5) says', async (t) => {
  for (const [text, expected] of [
    ['', { domains: [], ndots: 1, attempts: undefined }],
    ['nameserver 127.0.0.1\n# search a.test\n; search b.test\n', { domains: [] }],
    ['search a.test b.test\nsearch c.test. d.test\n', { domains: ['c.test', 'd.test'] }],
    ['search a.test\ndomain b.test c.test\n', { domains: ['b.test'] }],
    ['domain b.test\nsearch\ta.test\t.\r\n', { domains: ['a.test'] }],
    ['options ndots:5 timeout:2 attempts:3 rotate\n', { ndots: 5, attempts: 3 }],
    ['options ndots:99\noptions attempts:99\n', { ndots: 15, attempts: 5 }],
    ['options ndots:0 attempts:0', { ndots: 0, attempts: 1 }],
    ['options ndots:x attempts', { ndots: 1, attempts: undefined }],
  ] as const)
    t.match(parseResolvConf(text), expected, JSON.stringify(text));
});

t.test('a name with enough dots is asked for as it is first, another one last', async (t) => {
  const domains = ['a.test', 'b.test'];
  t.same(candidates('host', { domains, ndots: 1 }), ['host.a.test', 'host.b.test', 'host']);
  t.same(candidates('host.x', { domains, ndots: 1 }), ['host.x', 'host.x.a.test', 'host.x.b.test']);
  t.same(candidates('host.x', { domains, ndots: 2 }), ['host.x.a.test', 'host.x.b.test', 'host.x']);
  t.same(candidates('host', { domains, ndots: 0 }), ['host', 'host.a.test', 'host.b.test']);
  t.same(candidates('host', { domains: [], ndots: 1 }), ['host']);
});
