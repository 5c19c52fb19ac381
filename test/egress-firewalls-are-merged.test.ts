import t, { type Test } from 'tap';
import { parse } from 'yaml';
import { sourceFirewalls } from '../src/commands/manifests/egress-firewall.js';
import type { EgressRule } from '../src/commands/manifests/firewall-kinds.js';
import { materialOf, printManifest } from './fixtures/print-manifest.js';
import { runCli } from './fixtures/run-cli.js';

const OPTIONS = ['--proxy', '192.0.2.10:3128', '--source-namespace', 'shop'];
const OURS = '{type: Allow, to: {cidrSelector: 192.0.2.10/32}, ports: [{protocol: TCP, port: 3128}]}';

/** The last object that `manifest source` prints, with the comment above it, when these files are merged. */
function merged(t: Test, files: readonly string[], ...argv: readonly string[]): string {
  const directory = t.testdir(Object.fromEntries(files.map((each, index) => [`${index}.yaml`, each])));
  const flags = files.flatMap((_, index) => ['--merge', `${directory}/${index}.yaml`]);
  const options = argv.includes('--proxy') ? OPTIONS.slice(2) : OPTIONS;
  const printed = printManifest('source', [...options, ...flags, ...argv]);
  return printed.slice(printed.lastIndexOf('\n---\n') + 5);
}

function rulesOf(text: string): readonly EgressRule[] {
  return (parse(text) as { readonly spec: { readonly egress: readonly EgressRule[] } }).spec.egress;
}

const firewall = (rules: readonly string[], more = '') =>
  `apiVersion: k8s.ovn.org/v1\nkind: EgressFirewall\nmetadata: {name: default, namespace: shop}\nspec:\n  egress: [${rules.join(', ')}]\n${more}`;

t.test('a file keeps its comments, its order and everything else', async (t) => {
  const printed = merged(t, [
    `# The shop team's firewall: ask them first.
apiVersion: k8s.ovn.org/v1
kind: EgressFirewall
metadata:
  name: default
  namespace: shop # since 2023
  labels: {team: shop}
spec:
  egress:
  # The bank.
  - to:
      dnsName: bank.example
    type: Allow
  # And nothing else!
  - type: Deny # really
    to:
      cidrSelector: 0.0.0.0/0
  - type: Deny
    to:
      cidrSelector: ::/0
`,
  ]);
  const [comment = '', ...rest] = printed.split('\n\n');
  t.match(comment, /^# What was there, .*\n# .*every pod of the namespace.*$/);
  t.equal(
    rest.join('\n\n'),
    `# The shop team's firewall: ask them first.
apiVersion: k8s.ovn.org/v1
kind: EgressFirewall
metadata:
  name: default
  namespace: shop # since 2023
  labels: { team: shop }
spec:
  egress:
    # The bank.
    - to:
        dnsName: bank.example
      type: Allow
    # For the migration through the proxy.
    - type: Allow
      to:
        cidrSelector: 192.0.2.10/32
      ports:
        - protocol: TCP
          port: 3128
    # And nothing else!
    - type: Deny # really
      to:
        cidrSelector: 0.0.0.0/0
    - type: Deny
      to:
        cidrSelector: ::/0
`,
  );
});

t.test('a comment above a Deny that comes first stays above it', async (t) => {
  const file = firewall([]).replace(
    '[]',
    '\n  # Nothing leaves.\n  - type: Deny\n    to: {cidrSelector: 0.0.0.0/0}',
  );
  t.match(merged(t, [file]), / {10}port: 3128\n {4}# Nothing leaves\.\n {4}- type: Deny\n/);
});

t.test(
  'what kubectl prints is taken, of all namespaces and as JSON; what the API server added goes',
  async (t) => {
    const item = {
      apiVersion: 'k8s.ovn.org/v1',
      kind: 'EgressFirewall',
      metadata: {
        annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{}' },
        creationTimestamp: '2024-05-05T05:05:05Z',
        generation: 3,
        managedFields: [{ manager: 'kubectl' }],
        name: 'default',
        namespace: 'shop',
        resourceVersion: '12345',
        uid: '0a1b',
      },
      spec: { egress: [{ to: { cidrSelector: '0.0.0.0/0' }, type: 'Deny' }] },
      status: { status: 'EgressFirewall Rules applied' },
    };
    const other = { ...item, metadata: { name: 'default', namespace: 'other' } };
    const list = { apiVersion: 'v1', items: [other, item], kind: 'List', metadata: { resourceVersion: '' } };
    const expected = {
      ...{ apiVersion: item.apiVersion, kind: item.kind, metadata: { name: 'default', namespace: 'shop' } },
      spec: { egress: [parse(OURS) as unknown, ...item.spec.egress] },
    };
    const forms = {
      'a list as JSON': JSON.stringify(list, undefined, 4),
      'a stream': `---\n# nothing\n---\n${JSON.stringify(other)}\n---\n${JSON.stringify(item)}\n`,
      'a list with anchors': JSON.stringify(list).replace('[{"to"', '&rules [{"to"'),
      'an alias of something in another object': `apiVersion: v1\nkind: EgressFirewallList\nitems:\n- ${JSON.stringify(other).replace('"egress":[', '"egress":&rules [')}\n- ${JSON.stringify(item).replace(/"egress":\[.*?\]/, '"egress":*rules ')}\n`,
    };
    for (const [form, text] of Object.entries(forms)) {
      const printed = merged(t, [text]);
      t.same(parse(printed), expected, form);
      t.notMatch(printed, /[&*]rules|^\{/m, form);
    }
    const annotated = { ...item, metadata: { ...item.metadata, annotations: { team: 'shop' } } };
    t.match(parse(merged(t, [JSON.stringify(annotated)])), { metadata: { annotations: { team: 'shop' } } });
  },
);

t.test('merged again, nothing changes', async (t) => {
  const deny = ['{type: Deny, to: {cidrSelector: 0.0.0.0/0}}'];
  const once = merged(t, [`# Mine.\n${firewall(deny)}`]);
  t.equal(merged(t, [once]), once);
  t.match(once, /^# Mine\.$/m);
  const more = [
    '--dns-server',
    '192.0.2.53/32',
    '--proxy-address',
    '192.0.2.10/32',
    '--proxy-address',
    '192.0.2.11/32',
  ];
  const withMore = merged(t, [once], ...more);
  t.equal(rulesOf(withMore).length, rulesOf(once).length + 2);
  t.equal(merged(t, [withMore], ...more), withMore);

  const sdn = ['--network', 'sdn', '--egress-firewall', 'new'];
  const fresh = printManifest('source', [...OPTIONS, ...sdn]);
  const [, ofSdn = ''] = fresh.split('\n---\n');
  const again = merged(t, [ofSdn], ...sdn);
  t.same(parse(again), parse(ofSdn));
  t.notMatch(again, 'ONLY FOR', 'nor does the warning of the new one stay');
  t.equal(merged(t, [again], ...sdn), again);
});

t.test('an Allow stands before the first Deny that may shadow it, and is there once', async (t) => {
  const deny = (to: string, more = '') => `{type: Deny, to: {${to}}${more}}`;
  const allow = (to: string, more = '') => `{type: Allow, to: {${to}}${more}}`;
  const all = deny('cidrSelector: 0.0.0.0/0');
  const cases: readonly (readonly [
    promise: string,
    rules: readonly string[],
    expected: readonly string[],
  ])[] = [
    ['a Deny of everything', [all], [OURS, all]],
    [
      'one that covers it among others',
      [deny('cidrSelector: 10.0.0.0/8'), deny('cidrSelector: 192.0.0.0/8'), all],
      [deny('cidrSelector: 10.0.0.0/8'), OURS, deny('cidrSelector: 192.0.0.0/8'), all],
    ],
    [
      'one of other addresses, of another family, of other ports shadow nothing',
      [
        deny('cidrSelector: 192.0.2.0/29'),
        deny('cidrSelector: "::/0"'),
        deny('cidrSelector: 0.0.0.0/0', ', ports: [{protocol: UDP, port: 3128}]'),
      ],
      [
        deny('cidrSelector: 192.0.2.0/29'),
        deny('cidrSelector: "::/0"'),
        deny('cidrSelector: 0.0.0.0/0', ', ports: [{protocol: UDP, port: 3128}]'),
        OURS,
      ],
    ],
    [
      'one of this port does',
      [deny('cidrSelector: 192.0.2.10/32', ', ports: [{protocol: TCP, port: 3128}]')],
      [OURS, deny('cidrSelector: 192.0.2.10/32', ', ports: [{protocol: TCP, port: 3128}]')],
    ],
    ['nobody knows what names resolve to', [deny('dnsName: a.example')], [OURS, deny('dnsName: a.example')]],
    ['nor where nodes are', [deny('nodeSelector: {}')], [OURS, deny('nodeSelector: {}')]],
    ['there already', [OURS, all], [OURS, all]],
    [
      'there already, among other ports',
      [OURS.replace('[{', '[{protocol: TCP, port: 22}, {'), all],
      [OURS.replace('[{', '[{protocol: TCP, port: 22}, {'), all],
    ],
    [
      'a wider one is there',
      [allow('cidrSelector: 192.0.2.0/24'), all],
      [allow('cidrSelector: 192.0.2.0/24'), all],
    ],
    [
      'one of other ports is not enough',
      [allow('cidrSelector: 192.0.2.0/24', ', ports: [{protocol: TCP, port: 443}]'), all],
      [allow('cidrSelector: 192.0.2.0/24', ', ports: [{protocol: TCP, port: 443}]'), OURS, all],
    ],
    [
      'there, but in the shadow: it moves',
      [all, allow('dnsName: b.example'), OURS],
      [OURS, all, allow('dnsName: b.example')],
    ],
    [
      'a wider one in the shadow stays there',
      [all, allow('cidrSelector: 192.0.2.0/24')],
      [OURS, all, allow('cidrSelector: 192.0.2.0/24')],
    ],
    ['a list without rules', [], [OURS]],
  ];
  for (const [promise, rules, expected] of cases) {
    const text = merged(t, [firewall(rules)]);
    t.same(rulesOf(text), parse(`[${expected.join(', ')}]`), promise);
    t.equal(merged(t, [text]), text, `${promise}, again`);
  }
});

t.test('a Deny of a part of a range shadows it, too', async (t) => {
  const deny = '{type: Deny, to: {cidrSelector: 192.0.2.128/25}}';
  const range = OURS.replace('192.0.2.10/32', '192.0.2.0/24');
  const printed = merged(t, [firewall([deny])], '--proxy-address', '192.0.2.0/24');
  t.same(rulesOf(printed), parse(`[${range}, ${deny}]`));
});

t.test('a proxy given by name is a dnsName; OpenShift SDN gets no ports', async (t) => {
  const all = '{type: Deny, to: {cidrSelector: 0.0.0.0/0}}';
  const name = ['--proxy', 'proxy.example:3128', '--policies', 'allow-all'];
  t.same(rulesOf(merged(t, [firewall([all])], ...name))[0], {
    ...{ type: 'Allow', to: { dnsName: 'proxy.example' } },
    ports: [{ protocol: 'TCP', port: 3128 }],
  });
  const sdn = firewall([all])
    .replace('k8s.ovn.org', 'network.openshift.io')
    .replace('EgressFirewall', 'EgressNetworkPolicy')
    .replace('default', 'theirs');
  const printed = merged(t, [sdn], '--network', 'sdn', '--dns-server', '192.0.2.53/32');
  t.match(parse(printed), { kind: 'EgressNetworkPolicy', metadata: { name: 'theirs' } });
  t.same(rulesOf(printed), [
    { type: 'Allow', to: { cidrSelector: '192.0.2.10/32' } },
    { type: 'Allow', to: { cidrSelector: '192.0.2.53/32' } },
    { type: 'Deny', to: { cidrSelector: '0.0.0.0/0' } },
  ]);
});

t.test('what cannot be merged is said with the way out, and nothing is printed', async (t) => {
  const good = firewall([]);
  const cases: readonly (readonly [files: readonly string[], says: RegExp, ...argv: string[]])[] = [
    [
      ['kind: Deployment\nmetadata: {name: a, namespace: shop}\n'],
      /0\.yaml:1: Deployment is neither EgressFirewall nor EgressNetworkPolicy, .*: take it out$/,
    ],
    [['metadata: {name: a, namespace: shop}\n'], /0\.yaml:1: an object without kind is neither EgressF/],
    [[`${good}---\n\n${good.replace('EgressFirewall', 'Route')}`], /0\.yaml:8: Route is neither/],
    [
      [good],
      /0\.yaml:1: EgressFirewall is of OVN-Kubernetes, and this is for OpenShift SDN: add --network ovn$/,
      '--network',
      'sdn',
    ],
    [
      [good.replace('EgressFirewall', 'EgressNetworkPolicy')],
      /is of OpenShift SDN, and this is for OVN-Kubernetes: add --network sdn$/,
    ],
    [
      [good.replace('k8s.ovn.org/v1', 'k8s.ovn.org/v2')],
      /apiVersion of EgressFirewall must be k8s\.ovn\.org\/v1, not k8s\.ovn\.org\/v2$/,
    ],
    [[good.replace(', namespace: shop', '')], /needs a name and a namespace in its metadata: add them$/],
    [[good.replace('default', 'mine')], /no EgressFirewall of another name than default: rename mine$/],
    [
      [good, good],
      /1\.yaml:1: a second EgressFirewall of the namespace shop, the first is in .*0\.yaml:1: there can be one, so put their rules together$/,
    ],
    [
      [firewall(['{type: Perhaps, to: {cidrSelector: 10.0.0.0/8}}'])],
      /0\.yaml:1: rule 1 of spec\.egress has no type Allow or Deny, or no to$/,
    ],
    [[firewall(['deny'])], /rule 1 of spec\.egress/],
    [[good.replace('egress: []', 'ingress: []')], /0\.yaml:1: spec\.egress is not a list of rules$/],
    [['kind: [\n'], /0\.yaml:2: not YAML: /],
    [['just text\n'], /0\.yaml:1: not an object of Kubernetes$/],
    [['kind: List\nitems: [1]\n'], /0\.yaml:2: a list of something else$/],
    [
      [
        firewall(
          Array.from({ length: 8000 }, (_, index) => `{type: Allow, to: {dnsName: h${index}.example}}`),
        ),
      ],
      /8001 rules, and EgressFirewall takes 8000: put some into wider ranges$/,
    ],
    [
      [],
      /2001:db8::\/32 is IPv6, which OpenShift SDN does not have: leave it out$/,
      '--network',
      'sdn',
      '--egress-firewall',
      'new',
      '--proxy-address',
      '2001:db8::/32',
    ],
  ];
  for (const [files, says, ...argv] of cases) {
    t.throws(() => merged(t, files, ...argv), { name: 'ManifestFailure', message: says }, String(says));
  }
});

t.test('of many namespaces each gets its own, and the proxy may be in the same file', async (t) => {
  const text = ['shop', 'cart', 'spliceway', 'other']
    .map((namespace) => firewall([]).replace('shop', namespace))
    .join('---\n');
  const directory = t.testdir({ 'all.yaml': text });
  const printed = printManifest('source', [
    ...OPTIONS,
    '--source-namespace',
    'cart',
    '--merge',
    `${directory}/all.yaml`,
  ]);
  const firewalls = printed
    .split(/^---$/m)
    .map((each) => parse(each) as { kind: string; metadata: { namespace: string } });
  t.same(
    firewalls.filter(({ kind }) => kind === 'EgressFirewall').map(({ metadata }) => metadata.namespace),
    ['shop', 'cart'],
  );
});

t.test('a file of many firewalls is read once, and not for each of them', (t) => {
  const namespaces = ['shop', 'cart', 'bank'];
  const text = namespaces.map((namespace) => firewall([]).replace('shop', namespace)).join('---\n');
  const material = materialOf([...OPTIONS, ...namespaces.flatMap((name) => ['--source-namespace', name])]);
  let reads = 0;
  const file = {
    path: 'all.yaml',
    get text() {
      reads += 1;
      return text;
    },
  };
  const made = sourceFirewalls({ ...material, existing: [file] }, namespaces);
  t.same(
    made.map(({ object }) => object.metadata.namespace),
    namespaces,
  );
  t.equal(reads, 1);
  t.end();
});

t.test('a file with nothing for these namespaces stops nothing, and is told', async (t) => {
  const options = [...OPTIONS, '--source-namespace', 'blog'];
  const policies = printManifest('source', options);
  const files = {
    'list.yaml': 'apiVersion: v1\nitems: []\nkind: List\nmetadata:\n  resourceVersion: ""\n',
    'list.json': '{"apiVersion": "v1", "items": [], "kind": "List"}',
    'empty.yaml': '',
    'others.yaml': firewall([]).replace('shop', 'cart'),
    'ours.yaml': policies,
  };
  const directory = t.testdir(files);
  for (const name of Object.keys(files)) {
    const file = `${directory}/${name}`;
    const expected = {
      code: 0,
      stdout: policies,
      stderr: `spliceway: ${file} has no EgressFirewall of shop, blog: nothing to merge there\n`,
    };
    t.same(await runCli(['manifest', 'source', ...options, '--merge', file]), expected, name);
  }
  t.same(await runCli(['manifest', 'target', ...OPTIONS, '--merge', `${directory}/others.yaml`]), {
    code: 0,
    stdout: printManifest('target', OPTIONS),
    stderr: 'spliceway: --merge changes nothing here: source and proxy are the parts with egress firewalls\n',
  });
});
