import { readFileSync } from 'node:fs';
import t from 'tap';
import { PROXY_KINDS } from '../src/config/manifest-options.js';
import { problemsOf } from './fixtures/kubernetes-schemas.js';
import { printManifests, proxyManifests } from './fixtures/manifests.js';
import { runCli } from './fixtures/run-cli.js';

/** Parameters that make a difference for one object or another. */
const SETS: Readonly<Record<string, readonly string[]>> = {
  'without parameters': [],
  'with all that is known of both clusters': [
    ...['--namespace', 'tunnels', '--name', 'shop', '--image', 'registry.example/spliceway@sha256:abc'],
    ...['--pull-secret', 'registry.example'],
    ...['--client', '198.51.100.0/24', '--client', '2001:db8:1::/48', '--drain-timeout', '90m'],
    ...['--target-apps', 'apps.target.example', '--target-api', 'api.target.example:6443'],
    ...['--target-router', '203.0.113.10', '--target-router', '2001:db8:2::10'],
  ],
  'as a NodePort for the API server alone': [
    ...['--service', 'NodePort', '--target-api', '[2001:db8::1]:443', '--client', '198.51.100.7'],
  ],
  'as a ClusterIP, with a number of pods': [
    ...['--service', 'ClusterIP', '--replicas', '1', '--max-replicas', '1', '--drain-timeout', '0'],
    ...['--without', 'HorizontalPodAutoscaler'],
  ],
};

for (const [name, parameters] of Object.entries(SETS))
  t.test(`what is printed ${name} is what the schemas know`, async (t) => {
    const { objects, comments } = proxyManifests(parameters);
    for (const object of objects)
      t.same(await problemsOf(object), [], `${object.kind} ${object.metadata.name}`);
    t.equal(comments.length, objects.length);
    for (const comment of comments) t.match(comment, /[A-Z].{20}/, 'every object is explained');
  });

t.test('the command prints just that, ready for kubectl apply', async (t) => {
  const { objects } = await printManifests(t, ['proxy', '--client', '198.51.100.0/24']);
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
  t.same(objects, proxyManifests(['--client', '198.51.100.0/24'], { version }).objects);
});

t.test('every kind is printed, and what --without names is not', async (t) => {
  const kindsOf = (options: readonly string[]) => [
    ...new Set(proxyManifests(options).objects.map(({ kind }) => kind)),
  ];
  t.same(kindsOf([]), [...PROXY_KINDS]);
  for (const kind of PROXY_KINDS)
    t.same(
      kindsOf(['--without', kind]),
      PROXY_KINDS.filter((each) => each !== kind),
    );
});

t.test('a kind that is none is a mistake, with the one that was meant or all of them', async (t) => {
  t.throws(() => proxyManifests(['--without', 'serviceMonitors']), {
    name: 'ConfigError',
    message: /--without "serviceMonitors" is not a kind of the proxy's: did you mean ServiceMonitor\?/,
  });
  t.throws(() => proxyManifests(['--without', 'Route']), {
    name: 'ConfigError',
    message: new RegExp(`write ${PROXY_KINDS.join(', ')}`),
  });
});

t.test('a name that a Service cannot have is a mistake', async (t) => {
  for (const name of ['1st', 'a'.repeat(51), 'A', '-a', 'a-'])
    t.throws(() => proxyManifests([`--name=${name}`]), {
      name: 'ConfigError',
      message: /begins with a letter/,
    });
});

t.test("a namespace that is the cluster's own is not printed, and that is told", async (t) => {
  for (const namespace of ['default', 'kube-system', 'openshift', 'openshift-migration']) {
    const { code, stdout, stderr } = await runCli(['manifest', 'proxy', '--namespace', namespace]);
    t.equal(code, 0);
    t.match(stdout, `  namespace: ${namespace}\n`);
    t.notMatch(stdout, /^kind: Namespace$/m);
    t.match(stderr, `the namespace ${namespace} is the cluster's, not the proxy's: no Namespace is printed`);
  }
  for (const namespace of ['defaults', 'kubernetes', 'openshifted'])
    t.match(proxyManifests(['--namespace', namespace]).objects[0], { kind: 'Namespace' }, namespace);
});

t.test('pods of an image that is not for everybody name the Secret to pull it with', async (t) => {
  const deploymentOf = (options: readonly string[]) =>
    proxyManifests(options).objects.find(({ kind }) => kind === 'Deployment');
  t.match(deploymentOf(['--pull-secret', 'registry.example']), {
    spec: { template: { spec: { imagePullSecrets: [{ name: 'registry.example' }] } } },
  });
  t.notMatch(JSON.stringify(deploymentOf([])), 'imagePullSecrets');
  t.throws(() => proxyManifests(['--pull-secret', 'A b']), { message: /must be the name of a Secret/ });
});

t.test('routers of the same cluster are found as pods, others by their addresses', async (t) => {
  const toOf = (...options: readonly string[]) => {
    const { one } = proxyManifests(['--target-apps', 'apps.target.example', ...options]);
    const { egress } = one('NetworkPolicy').spec as { readonly egress: readonly unknown[] };
    return egress.at(-1);
  };
  const label = (name: string) => ({
    namespaceSelector: { matchLabels: { [`policy-group.network.openshift.io/${name}`]: '' } },
  });
  const peers = [
    label('ingress'),
    { namespaceSelector: { matchLabels: { 'network.openshift.io/policy-group': 'ingress' } } },
    { ...label('host-network'), podSelector: {} },
  ];
  const ports = [{ protocol: 'TCP', port: 443 }];
  const block = { ipBlock: { cidr: '203.0.113.10/32' } };
  t.same(toOf('--target-router', 'cluster'), { to: peers, ports });
  t.same(toOf('--target-router', 'cluster', '--target-router', '203.0.113.10'), {
    to: [...peers, block],
    ports,
  });
  t.same(toOf('--target-router', '203.0.113.10'), { to: [block], ports });
  t.throws(() => toOf('--target-router', 'clusters'), { message: /is not a range/ });
});
