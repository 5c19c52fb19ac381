import t from 'tap';
import { createPolicy } from '../src/access/policy.js';
import { checkPolicy, outcomeOf, type PolicyCase, rule, targetOf } from './fixtures/policy.js';

const PUBLIC = ['93.184.216.34', '2606:2800:220:1::1'];
const NOT_ALLOWED = ['destination_denied', /matches no allow rule/] as const;
const WRONG_PORT = ['destination_denied', /is not at port 443 or 6443/] as const;
const SPECIAL = ['destination_ip_prohibited', /is special-purpose/] as const;

const CASES: Readonly<Record<string, readonly PolicyCase[]>> = {
  'without rules, every host at 443 and 6443, private ones too': [
    { target: 'api.test:6443', addresses: PUBLIC, is: 'by default' },
    {
      target: 'a.test:443',
      addresses: [...PUBLIC, '10.0.0.1', '172.16.0.1', '192.168.0.1', '100.64.0.1', 'fd00::1'],
      is: 'by default',
    },
    { target: '10.0.0.1:443', is: 'by default' },
    { target: '[fd12::1]:6443', is: 'by default' },
    { target: 'a.test:80', is: WRONG_PORT },
    { target: 'a.test:444', is: WRONG_PORT },
    { target: '10.0.0.1:22', is: WRONG_PORT },
  ],
  'without rules, no special-purpose address': [
    {
      target: 'a.test:443',
      addresses: ['127.0.0.1', '::1', '169.254.169.254', '0.0.0.0', '224.0.0.1', 'fe80::1'],
      is: SPECIAL,
    },
    { target: '127.0.0.1:443', is: SPECIAL },
    { target: '[::1]:443', is: SPECIAL },
  ],
  'with a rule, only what it allows': [
    {
      allow: ['a.test:443'],
      target: 'a.test:443',
      addresses: [...PUBLIC, '10.0.0.1'],
      is: 'by rule a.test:443',
    },
    { allow: ['a.test:443'], target: 'b.test:443', is: NOT_ALLOWED },
    { allow: ['a.test:443'], target: 'a.test:6443', is: NOT_ALLOWED },
    { allow: ['a.test:443'], target: 'a.test.test:443', is: NOT_ALLOWED },
    { allow: ['a.test:443'], target: 'xa.test:443', is: NOT_ALLOWED },
    { allow: ['a.test:443'], target: '10.0.0.1:443', is: NOT_ALLOWED },
    { allow: ['A.Test.:443'], target: 'a.test:443', addresses: PUBLIC, is: 'by rule A.Test.:443' },
    { allow: ['b.test', 'a.test'], target: 'a.test:443', addresses: PUBLIC, is: 'by rule a.test' },
    { allow: ['localhost'], target: 'localhost:443', addresses: ['127.0.0.1', '::1'], is: SPECIAL },
  ],
  'a rule without ports means 443 and 6443': [
    { allow: ['a.test'], target: 'a.test:443', addresses: PUBLIC, is: 'by rule a.test' },
    { allow: ['a.test'], target: 'a.test:6443', addresses: PUBLIC, is: 'by rule a.test' },
    { allow: ['a.test'], target: 'a.test:80', is: NOT_ALLOWED },
    { allow: ['10.0.0.0/8'], target: '10.1.2.3:6443', is: 'by address' },
    { allow: ['10.0.0.0/8'], target: '10.1.2.3:80', is: NOT_ALLOWED },
    { deny: ['a.test'], target: 'a.test:6443', is: ['destination_denied', /matches deny rule a\.test/] },
  ],
  'ports one by one, from–to, and all of them': [
    {
      allow: ['a.test:1,30000-32767'],
      target: 'a.test:1',
      addresses: PUBLIC,
      is: 'by rule a.test:1,30000-32767',
    },
    {
      allow: ['a.test:1,30000-32767'],
      target: 'a.test:30000',
      addresses: PUBLIC,
      is: 'by rule a.test:1,30000-32767',
    },
    {
      allow: ['a.test:1,30000-32767'],
      target: 'a.test:32767',
      addresses: PUBLIC,
      is: 'by rule a.test:1,30000-32767',
    },
    { allow: ['a.test:1,30000-32767'], target: 'a.test:2', is: NOT_ALLOWED },
    { allow: ['a.test:1,30000-32767'], target: 'a.test:29999', is: NOT_ALLOWED },
    { allow: ['a.test:1,30000-32767'], target: 'a.test:32768', is: NOT_ALLOWED },
    { allow: ['a.test:443-443'], target: 'a.test:443', addresses: PUBLIC, is: 'by rule a.test:443-443' },
    { allow: ['a.test:*'], target: 'a.test:1', addresses: PUBLIC, is: 'by rule a.test:*' },
    { allow: ['a.test:*'], target: 'a.test:65535', addresses: PUBLIC, is: 'by rule a.test:*' },
    { allow: ['*:443'], target: 'a.test:443', addresses: PUBLIC, is: 'by rule *:443' },
    { allow: ['*:443'], target: 'a.test:6443', is: NOT_ALLOWED },
    { allow: ['*:*'], target: 'a.test:25', addresses: PUBLIC, is: 'by rule *:*' },
    { allow: ['*:*'], target: '8.8.8.8:53', is: 'by rule *:*' },
  ],
  'a star stands for letters within one label': [
    {
      allow: ['dvm-*.apps.test'],
      target: 'dvm-a.apps.test:443',
      addresses: PUBLIC,
      is: 'by rule dvm-*.apps.test',
    },
    {
      allow: ['dvm-*.apps.test'],
      target: 'dvm-block-a.apps.test:443',
      addresses: PUBLIC,
      is: 'by rule dvm-*.apps.test',
    },
    { allow: ['dvm-*.apps.test'], target: 'dvm-a.b.apps.test:443', is: NOT_ALLOWED },
    { allow: ['dvm-*.apps.test'], target: 'dvm.apps.test:443', is: NOT_ALLOWED },
    { allow: ['dvm-*.apps.test'], target: 'dvm-a.apps.test.evil.test:443', is: NOT_ALLOWED },
    { allow: ['dvm-*.apps.test'], target: 'dvm-a-apps.test:443', is: NOT_ALLOWED },
    { allow: ['a*b*c.test'], target: 'abc.test:443', addresses: PUBLIC, is: 'by rule a*b*c.test' },
    { allow: ['a*b*c.test'], target: 'a1b2c.test:443', addresses: PUBLIC, is: 'by rule a*b*c.test' },
    { allow: ['a*b*c.test'], target: 'acb.test:443', is: NOT_ALLOWED },
    { allow: ['api.*.test'], target: 'api.one.test:443', addresses: PUBLIC, is: 'by rule api.*.test' },
    { allow: ['api.*.test'], target: 'api.one.two.test:443', is: NOT_ALLOWED },
    { allow: ['api.*.test'], target: 'api.test:443', is: NOT_ALLOWED },
  ],
  'a star and a dot in front stand for one label or more': [
    { allow: ['*.corp.test'], target: 'a.corp.test:443', addresses: PUBLIC, is: 'by rule *.corp.test' },
    { allow: ['*.corp.test'], target: 'a.b.c.corp.test:443', addresses: PUBLIC, is: 'by rule *.corp.test' },
    { allow: ['*.corp.test'], target: 'corp.test:443', is: NOT_ALLOWED },
    { allow: ['*.corp.test'], target: 'evilcorp.test:443', is: NOT_ALLOWED },
    { allow: ['*.corp.test'], target: 'a.corp.test.evil.test:443', is: NOT_ALLOWED },
    { allow: ['*.dvm-*.test'], target: 'a.b.dvm-c.test:443', addresses: PUBLIC, is: 'by rule *.dvm-*.test' },
  ],
  'a deny wins, however the rest reads': [
    {
      allow: ['a.test'],
      deny: ['a.test'],
      target: 'a.test:443',
      is: ['destination_denied', /matches deny rule a\.test; remove --deny a\.test/],
    },
    {
      allow: ['*:*'],
      deny: ['*.bad.test:*'],
      target: 'a.bad.test:9',
      is: ['destination_denied', /matches deny rule \*\.bad\.test:\*/],
    },
    { allow: ['*:*'], deny: ['*.bad.test:*'], target: 'a.good.test:9', addresses: PUBLIC, is: 'by rule *:*' },
    {
      allow: ['a.test:*'],
      deny: ['*:25'],
      target: 'a.test:25',
      is: ['destination_denied', /matches deny rule \*:25/],
    },
    { allow: ['a.test:*'], deny: ['*:25'], target: 'a.test:26', addresses: PUBLIC, is: 'by rule a.test:*' },
    {
      allow: ['10.1.2.3:443'],
      deny: ['10.0.0.0/8:443'],
      target: '10.1.2.3:443',
      is: ['destination_denied', /10\.1\.2\.3:443 matches deny rule 10\.0\.0\.0\/8:443/],
    },
    {
      allow: ['a.test'],
      deny: ['10.0.0.0/8'],
      target: 'a.test:443',
      addresses: ['10.1.2.3', '::ffff:10.1.2.3', '64:ff9b::a01:203', '2002:a01:203::1'],
      is: ['destination_denied', /a\.test:443 \(.+\) matches deny rule 10\.0\.0\.0\/8/],
    },
    {
      allow: ['a.test'],
      deny: ['10.0.0.0/8'],
      target: 'a.test:443',
      addresses: PUBLIC,
      is: 'by rule a.test',
    },
    {
      allow: ['127.0.0.0/8'],
      deny: ['127.0.0.1'],
      target: '127.0.0.1:443',
      is: ['destination_denied', /matches deny rule 127\.0\.0\.1/],
    },
    {
      deny: ['0.0.0.0/0', '[::]/0'],
      target: 'a.test:443',
      addresses: PUBLIC,
      is: ['destination_denied', /matches deny rule/],
    },
    { deny: ['a.test:9'], target: 'a.test:443', addresses: PUBLIC, is: 'by default' },
  ],
};

for (const [promise, cases] of Object.entries(CASES)) {
  t.test(promise, async (t) => checkPolicy(t, cases));
}

t.test('a name that no rule names, at a port of no range rule, is refused before DNS is asked', async (t) => {
  const policy = createPolicy({
    allow: [rule('a.test'), rule('10.0.0.0/8:80')],
    deny: [],
    isOwnListener: () => false,
  });
  t.match(
    outcomeOf(() => policy.decide(targetOf('b.test:443')) && 'allowed'),
    { reason: 'destination_denied' },
  );
  t.doesNotThrow(() => policy.decide(targetOf('b.test:80')), 'the addresses decide');
});

t.test('the remedy of a refusal, when followed, opens what was refused', async (t) => {
  const refused: readonly (readonly [allow: readonly string[], target: string, address?: string])[] = [
    [[], 'a.test:80'],
    [[], '10.0.0.1:22'],
    [[], '[fd00::1]:22'],
    [[], '127.0.0.1:443'],
    [[], '[::1]:443'],
    [[], '[64:ff9b::7f00:1]:443'],
    [['*:443'], 'a.test:80'],
    [['*:443'], '169.254.169.254:443'],
    [['*:443'], 'a.test:443', '127.0.0.1'],
    [['10.0.0.0/8:443'], 'a.test:443', '192.168.0.1'],
  ];
  for (const [allow, authority, address] of refused) {
    const target = targetOf(authority);
    const judgeUnder = (rules: readonly string[]) =>
      outcomeOf(() => {
        const policy = createPolicy({ allow: rules.map(rule), deny: [], isOwnListener: () => false });
        const refusal = policy
          .decide(target)
          .judge(address ?? (target.family === 0 ? '8.8.8.8' : target.host));
        if (refusal !== undefined) throw refusal;
        return 'allowed';
      });
    const refusal = judgeUnder(allow);
    if (typeof refusal === 'string') return void t.fail(`${authority} was not refused`);
    const added = [...refusal.remedy.matchAll(/(?:--allow|such as) ([^ ,]+(?:,[0-9]+)?)/g)]
      .map(([, text = '']) => text)
      .filter((text) => text !== 'an');
    t.not(added.length, 0, refusal.text);
    t.equal(judgeUnder([...allow, ...added]), 'allowed', `${refusal.text}: ${added.join(' ')}`);
    // Whoever had no rules had every host at 443 and 6443, and keeps it.
    if (allow.length === 0) {
      const policy = createPolicy({ allow: added.map(rule), deny: [], isOwnListener: () => false });
      t.equal(policy.decide(targetOf('b.test:6443')).judge('8.8.8.8'), undefined);
    }
  }
});
