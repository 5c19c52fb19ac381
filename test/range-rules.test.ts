import t from 'tap';
import { createPolicy } from '../src/access/policy.js';
import { checkPolicy, outcomeOf, type PolicyCase, rule, targetOf } from './fixtures/policy.js';

const PUBLIC = ['93.184.216.34', '2606:2800:220:1::1'];
const NOT_ALLOWED = ['destination_denied', /matches no allow rule/] as const;
const SPECIAL = ['destination_ip_prohibited', /is special-purpose/] as const;

const CASES: Readonly<Record<string, readonly PolicyCase[]>> = {
  'a pattern of names does not fit addresses, but for the star alone': [
    { allow: ['*.*'], target: '10.0.0.1:443', is: NOT_ALLOWED },
    { allow: ['*.test'], target: '10.0.0.1:443', is: NOT_ALLOWED },
    { allow: ['*'], target: '10.0.0.1:443', is: 'by rule *' },
    { allow: ['*'], target: '[fd00::1]:443', is: 'by rule *' },
    { deny: ['*'], target: '10.0.0.1:443', is: ['destination_denied', /matches deny rule \*/] },
  ],
  'a range fits addresses, and names by what they resolve to': [
    { allow: ['10.0.0.0/8:443'], target: '10.255.0.1:443', is: 'by address' },
    { allow: ['10.0.0.0/8:443'], target: '11.0.0.1:443', is: NOT_ALLOWED },
    { allow: ['10.0.0.0/8:443'], target: 'a.test:443', addresses: ['10.1.2.3'], is: 'by address' },
    {
      allow: ['10.0.0.0/8:443'],
      target: 'a.test:443',
      addresses: PUBLIC,
      is: ['destination_denied', /a\.test:443 \(.+\) matches no allow rule/],
    },
    { allow: ['10.1.2.3:443'], target: '10.1.2.3:443', is: 'by address' },
    { allow: ['10.1.2.3:443'], target: '10.1.2.4:443', is: NOT_ALLOWED },
    { allow: ['[fd00:1::]/32:443'], target: '[fd00:1:ffff::1]:443', is: 'by address' },
    { allow: ['[fd00:1::]/32:443'], target: '[fd00:2::1]:443', is: NOT_ALLOWED },
    { allow: ['[fd00::1]:443'], target: '[FD00:0::1]:443', is: 'by address' },
    { allow: ['10.0.0.0/8:443'], target: '[fd00::1]:443', is: NOT_ALLOWED },
    { allow: ['10.0.0.0/8:443'], target: '[::ffff:10.0.0.1]:443', is: 'by address' },
    { allow: ['10.0.0.0/8:443'], target: '[64:ff9b::a00:1]:443', is: 'by address' },
    { allow: ['0.0.0.0/0:443'], target: '[fd00::1]:443', is: NOT_ALLOWED },
    {
      allow: ['0.0.0.0/0:443'],
      target: 'a.test:443',
      addresses: ['93.184.216.34', '10.0.0.1'],
      is: 'by address',
    },
  ],
  'an IPv4 range does not allow the IPv6 hosts whose owner put such an address into theirs': [
    { allow: ['10.0.0.0/8:443'], target: '[2606:4700:1::5efe:a00:1]:443', is: NOT_ALLOWED },
    { allow: ['10.0.0.0/8:443'], target: '[2002:a00:1::1]:443', is: NOT_ALLOWED },
    { allow: ['127.0.0.0/8:*'], target: '[2606:4700:1::5efe:7f00:1]:25', is: NOT_ALLOWED },
    { deny: ['10.0.0.0/8:443'], target: '[2002:a00:1::1]:443', is: ['destination_denied', /deny rule/] },
    { allow: ['*:443'], target: '[64:ff9b:1:a9fe:a9:fe00:808:808]:443', is: SPECIAL },
  ],
  'only a rule with a range inside opens a special-purpose range': [
    { allow: ['*:443'], target: '127.0.0.1:443', is: SPECIAL },
    {
      allow: ['*:*'],
      target: 'a.test:443',
      addresses: ['127.0.0.1', '::1', '169.254.169.254', 'fd00:ec2::254'],
      is: SPECIAL,
    },
    { allow: ['a.test:443'], target: 'a.test:443', addresses: ['127.0.0.1'], is: SPECIAL },
    { allow: ['127.0.0.0/8:443'], target: '127.0.0.1:443', is: 'by address' },
    { allow: ['127.0.0.0/8:443'], target: '127.0.0.1:6443', is: NOT_ALLOWED },
    {
      allow: ['127.0.0.0/8:443'],
      target: 'a.test:443',
      addresses: ['127.0.0.1', '::ffff:127.0.0.1', '64:ff9b::7f00:1'],
      is: 'by address',
    },
    {
      allow: ['127.0.0.0/8:443', '*:443'],
      target: 'a.test:443',
      addresses: ['::1', '169.254.169.254'],
      is: SPECIAL,
    },
    { allow: ['127.0.0.5:443'], target: '127.0.0.5:443', is: 'by address' },
    { allow: ['127.0.0.5:443'], target: '127.0.0.6:443', is: SPECIAL },
    { allow: ['[::1]:443'], target: '[::1]:443', is: 'by address' },
    { allow: ['[::1]:443'], target: '127.0.0.1:443', is: SPECIAL },
    { allow: ['[fe80::]/10:443'], target: '[fe80::1]:443', is: 'by address' },
    { allow: ['[fd00:ec2::254]:443'], target: '[fd00:ec2::254]:443', is: 'by address' },
    // Wide ranges do not mean what lies hidden in them.
    { allow: ['0.0.0.0/0:443'], target: '127.0.0.1:443', is: SPECIAL },
    { allow: ['0.0.0.0/0:*'], target: 'a.test:80', addresses: ['127.0.0.1', '169.254.169.254'], is: SPECIAL },
    { allow: ['[::]/0:443'], target: '[::1]:443', is: SPECIAL },
    { allow: ['[fc00::]/7:443'], target: '[fd00:ec2::254]:443', is: SPECIAL },
    { allow: ['[64:ff9b::]/96:443'], target: '[64:ff9b::7f00:1]:443', is: SPECIAL },
    { allow: ['[64:ff9b::]/96:443'], target: '[64:ff9b::a00:1]:443', is: 'by address' },
  ],
};

for (const [promise, cases] of Object.entries(CASES)) {
  t.test(promise, async (t) => checkPolicy(t, cases));
}

t.test(
  "the proxy's own listeners are refused whatever the rules say, in every form of their address",
  async (t) => {
    const rules = ['*:*', '127.0.0.0/8:*', '[::1]:*', '10.0.0.0/8:*'].map(rule);
    const own = new Set(['127.0.0.1', '::1', '10.0.0.1']);
    const policy = createPolicy({
      allow: rules,
      deny: [],
      isOwnListener: (address, port) => port === 3128 && own.has(address),
    });
    for (const address of [
      '127.0.0.1',
      '::ffff:127.0.0.1',
      '::ffff:7f00:1',
      '::1',
      '0:0::1',
      '10.0.0.1',
      '64:ff9b::10.0.0.1',
      '2002:a00:1::',
    ]) {
      const { judge } = policy.decide(targetOf('a.test:3128'));
      t.match(judge(address), { reason: 'destination_is_proxy', message: /is this proxy itself/ }, address);
      t.equal(
        policy.decide(targetOf('a.test:3129')).judge(address),
        undefined,
        'another port is another listener',
      );
    }
    t.match(
      outcomeOf(() => policy.decide(targetOf('127.0.0.1:3128')) && 'allowed'),
      { reason: 'destination_is_proxy' },
    );
  },
);

t.test('a name that a search domain made of another is denied as that name, too', async (t) => {
  const policy = createPolicy({
    allow: [rule('*:443')],
    deny: [rule('secret.ns.svc.cluster.test:*')],
    isOwnListener: () => false,
  });
  const { judge } = policy.decide(targetOf('secret:443'));
  t.equal(judge('10.0.0.1', 'other.ns.svc.cluster.test'), undefined);
  t.match(judge('10.0.0.1', 'secret.ns.svc.cluster.test'), {
    reason: 'destination_denied',
    message: /deny rule secret/,
  });
});
