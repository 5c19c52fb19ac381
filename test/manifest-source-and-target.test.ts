import t from 'tap';
import { parseAllDocuments } from 'yaml';
import { MTC_RELEASES } from '../src/config/manifest-options.js';
import { problemsOf } from './fixtures/kubernetes-schemas.js';
import { printManifest } from './fixtures/print-manifest.js';
import { runCli } from './fixtures/run-cli.js';

interface Printed {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: Readonly<Record<string, unknown>>;
}

const read = (text: string): readonly Printed[] =>
  parseAllDocuments(text).map((document) => {
    if (document.errors[0] !== undefined) throw document.errors[0];
    return document.toJS() as Printed;
  });

const OPTIONS = ['--source-namespace', 'shop', '--proxy', '192.0.2.10:3128'];
const APP = 'directvolumemigration-rsync-transfer';

t.test('no object takes the place of another one, and each says where it goes', async (t) => {
  for (const mtc of MTC_RELEASES) {
    for (const policies of ['least', 'allow-all']) {
      const argv = [
        ...OPTIONS,
        '--source-namespace',
        'cart',
        '--mtc',
        mtc,
        '--policies',
        policies,
        '--egress-firewall',
        'new',
      ];
      // Both clusters may be one.
      const objects = [...read(printManifest('source', argv)), ...read(printManifest('target', argv))];
      const names = objects.map(({ kind, metadata }) => `${kind}/${metadata.namespace}/${metadata.name}`);
      const twice = names.filter((name, index) => names.indexOf(name) !== index);
      // MTC 1.4 needs the same in the source: the very same object.
      const same = mtc === '1.4' && policies === 'allow-all' ? ['shop', 'cart'] : [];
      t.same(
        twice,
        same.map((namespace) => `NetworkPolicy/${namespace}/allow-all-ingress-to-rsync-pods`),
        `${mtc}, ${policies}`,
      );
      for (const name of twice) {
        const [one, other] = objects.filter((_, index) => names[index] === name);
        t.same(one, other, 'and where two have a name they are the same');
      }
    }
  }
});

t.test('an API server takes every policy', async (t) => {
  const more = ['--dns-server', '2001:db8::53', '--target-namespace', 'store'];
  for (const argv of [
    [],
    ['--mtc', '1.4'],
    ['--policies', 'allow-all'],
    ['--mtc', '1.4', '--policies', 'allow-all'],
  ])
    for (const part of ['source', 'target'] as const)
      for (const object of read(printManifest(part, [...OPTIONS, ...more, ...argv])))
        t.same(await problemsOf(object), [], `${object.metadata.name}: ${argv.join(' ')}`);
});

t.test('pods are found by app alone, those of block volumes where there are any', async (t) => {
  for (const mtc of MTC_RELEASES) {
    const values = mtc === '1.8' ? [APP, `${APP}-block`] : [APP];
    for (const part of ['source', 'target'] as const)
      for (const object of read(printManifest(part, [...OPTIONS, '--mtc', mtc])))
        t.same(
          object.spec.podSelector,
          { matchExpressions: [{ key: 'app', operator: 'In', values }] },
          `${part} of ${mtc}`,
        );
  }
});

t.test('addresses of the proxy are those given, of both families, or the one it is given by', async (t) => {
  const blocksOf = (...argv: readonly string[]): unknown => {
    const [policy] = read(printManifest('source', ['--source-namespace', 'shop', ...argv]));
    const egress = policy?.spec.egress;
    return Array.isArray(egress) ? egress[0] : undefined;
  };
  const port = { protocol: 'TCP', port: 3128 };
  t.same(blocksOf('--proxy', '192.0.2.10:3128'), {
    to: [{ ipBlock: { cidr: '192.0.2.10/32' } }],
    ports: [port],
  });
  t.same(blocksOf('--proxy', '[2001:db8::10]:3128'), {
    to: [{ ipBlock: { cidr: '2001:db8::10/128' } }],
    ports: [port],
  });
  const several = ['--proxy-address', '192.0.2.0/28', '--proxy-address', '2001:db8::/64'];
  t.same(blocksOf('--proxy', 'proxy.example:3128', ...several), {
    to: [{ ipBlock: { cidr: '192.0.2.0/28' } }, { ipBlock: { cidr: '2001:db8::/64' } }],
    ports: [port],
  });
  t.same(
    blocksOf('--proxy', 'way.tools.svc.cluster.local:3128', '--namespace', 'tools', '--name', 'way'),
    {
      to: [
        {
          namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'tools' } },
          podSelector: {
            matchLabels: {
              'app.kubernetes.io/name': 'spliceway',
              'app.kubernetes.io/instance': 'way',
              'app.kubernetes.io/component': 'proxy',
            },
          },
        },
      ],
      ports: [port],
    },
    'in the same cluster it is found as its pods',
  );
});

t.test('the Service of a proxy in another namespace is told with the namespace to set', async (t) => {
  for (const [proxy, says] of [
    ['spliceway.tunnels.svc:3128', /set --namespace tunnels where the proxy runs in this cluster$/],
    ['way.tunnels.svc.cluster.local:3128', /set --namespace tunnels where .*, and --name way$/],
  ] as const)
    t.throws(() => printManifest('source', [...OPTIONS.slice(0, 2), '--proxy', proxy]), { message: says });
  t.doesNotThrow(() =>
    printManifest('source', [
      ...OPTIONS.slice(0, 2),
      ...['--proxy', 'spliceway.tunnels.svc:3128', '--namespace', 'tunnels'],
    ]),
  );
});

t.test('a proxy given by name alone is a mistake, and the way out is told', async (t) => {
  const { code, stdout, stderr } = await runCli([
    ...['manifest', 'source', '--source-namespace', 'shop', '--proxy', 'proxy.example:3128'],
  ]);
  t.equal(code, 1);
  t.equal(stdout, '');
  t.match(
    stderr,
    /--proxy proxy\.example:3128 is a name, .*: add each of its addresses, as in --proxy-address 192\.0\.2\.10\/32\n$/,
  );
  const all = read(
    printManifest('source', [
      ...OPTIONS.slice(0, 2),
      '--proxy',
      'proxy.example:3128',
      '--policies',
      'allow-all',
    ]),
  );
  t.equal(all.length, 1, 'who allows everything needs none');
});

t.test('volumes arrive in the namespaces of the source, or in others', async (t) => {
  const namespacesOf = (...argv: readonly string[]): readonly string[] =>
    read(printManifest('target', [...OPTIONS, ...argv])).map(({ metadata }) => metadata.namespace);
  t.same(namespacesOf('--source-namespace', 'cart', '--source-namespace', 'shop'), ['shop', 'cart']);
  t.same(namespacesOf('--target-namespace', 'store'), ['store']);
});

t.test(
  'no egress firewall is printed unless asked for: it would take the place of one that is there',
  async (t) => {
    const plain = printManifest('source', OPTIONS);
    t.same(
      read(plain).map(({ kind }) => kind),
      ['NetworkPolicy'],
    );
    t.match(
      plain.replaceAll('\n# ', ' '),
      /kubectl get egressfirewall -A -o yaml > FILE\), give it with --merge FILE/,
    );
    const fresh = printManifest('source', [...OPTIONS, '--egress-firewall', 'new']);
    t.match(
      fresh,
      /^# ONLY FOR A NAMESPACE WITHOUT EgressFirewall, of which there can be one: this one would replace it/m,
    );
    t.match(read(fresh)[1], { kind: 'EgressFirewall', metadata: { name: 'default', namespace: 'shop' } });
    const sdn = printManifest('source', [...OPTIONS, '--egress-firewall', 'new', '--network', 'sdn']);
    t.match(sdn, /^# ONLY FOR A NAMESPACE WITHOUT EgressNetworkPolicy, .* with two of them nothing leaves/m);
  },
);

t.test('firewalls are of the form that their definitions want', async (t) => {
  const argv = [
    ...OPTIONS,
    '--egress-firewall',
    'new',
    '--dns-server',
    '192.0.2.53',
    '--policies',
    'allow-all',
  ];
  const [, ovn] = read(printManifest('source', argv));
  t.strictSame(ovn, {
    ...{
      apiVersion: 'k8s.ovn.org/v1',
      kind: 'EgressFirewall',
      metadata: { name: 'default', namespace: 'shop' },
    },
    spec: {
      egress: [
        { type: 'Allow', to: { cidrSelector: '192.0.2.10/32' }, ports: [{ protocol: 'TCP', port: 3128 }] },
        {
          ...{ type: 'Allow', to: { cidrSelector: '192.0.2.53/32' } },
          ports: [
            { protocol: 'UDP', port: 53 },
            { protocol: 'TCP', port: 53 },
          ],
        },
      ],
    },
  });
  const [, sdn] = read(printManifest('source', [...argv, '--network', 'sdn']));
  t.strictSame(sdn, {
    ...{ apiVersion: 'network.openshift.io/v1', kind: 'EgressNetworkPolicy' },
    metadata: { name: 'spliceway-migration', namespace: 'shop' },
    spec: {
      egress: ['192.0.2.10/32', '192.0.2.53/32'].map((cidrSelector) => ({
        type: 'Allow',
        to: { cidrSelector },
      })),
    },
  });
});

t.test(
  "the proxy's namespace gets an egress firewall where one is asked for, with the router in it",
  async (t) => {
    const argv = ['manifest', 'proxy', '--password', 'of-the-tests'];
    const plain = await runCli(argv);
    t.notMatch(plain.stdout, 'EgressFirewall');
    const { code, stdout, stderr } = await runCli([...argv, '--egress-firewall', 'new']);
    t.equal(code, 1);
    t.equal(stdout, '');
    t.match(
      stderr,
      /the router of the target: add its addresses, as in --target-router 203\.0\.113\.10\/32\n$/,
    );
    const last = read(
      printManifest('proxy', [
        ...argv.slice(2),
        '--egress-firewall',
        'new',
        '--target-router',
        '203.0.113.10',
      ]),
    ).at(-1);
    t.match(last, {
      ...{ kind: 'EgressFirewall', metadata: { name: 'default', namespace: 'spliceway' } },
      spec: {
        egress: [
          { type: 'Allow', to: { cidrSelector: '203.0.113.10/32' }, ports: [{ protocol: 'TCP', port: 443 }] },
        ],
      },
    });
  },
);

t.test('kubectl, which reads YAML 1.1, finds text where text is meant', (t) => {
  const names = ['no', 'on', 'y', '1e3', '0b1', '123'];
  const text = printManifest(
    'target',
    names.flatMap((name) => ['--source-namespace', name]),
  );
  const found = parseAllDocuments(text, { version: '1.1' }).map((document) =>
    document.getIn(['metadata', 'namespace']),
  );
  t.same(found, names);
  t.end();
});

t.test('two parts with one and the same object are refused, and the way out is told', async (t) => {
  const argv = ['--namespace', 'shop', '--target-router', '203.0.113.10', '--egress-firewall', 'new'];
  const { code, stdout, stderr } = await runCli(['manifest', 'proxy', 'source', ...OPTIONS, ...argv]);
  t.equal(code, 1);
  t.equal(stdout, '');
  t.match(stderr, /two parts print EgressFirewall shop\/default.*--merge/);
});

t.test('the firewall of the proxy opens the ports that its policy opens', async (t) => {
  const argv = ['--target-router', '203.0.113.10', '--egress-firewall', 'new', '--password', 'x'];
  for (const [known, ports] of [
    [[], [443, 6443]],
    [['--target-apps', 'apps.target.example'], [443]],
    [
      ['--target-apps', 'apps.target.example', '--target-api', 'api.target.example:7443'],
      [443, 7443],
    ],
  ] as const) {
    const objects = read(printManifest('proxy', [...argv, ...known]));
    for (const kind of ['EgressFirewall', 'NetworkPolicy']) {
      const { spec } = objects.find((object) => object.kind === kind) ?? { spec: { egress: [] } };
      const rules = spec.egress as readonly {
        readonly to: unknown;
        readonly ports: readonly { readonly port: number }[];
      }[];
      const [rule] = rules.filter(({ to }) => JSON.stringify(to).includes('203.0.113.10'));
      t.same(
        rule?.ports.map(({ port }) => port),
        ports,
        `${kind} ${known.join(' ')}`,
      );
    }
  }
});
