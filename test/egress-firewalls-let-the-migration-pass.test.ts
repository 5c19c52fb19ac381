import t from 'tap';
import { stringify } from 'yaml';
import { createWorkspace } from './fixtures/e2e-clusters.js';
import { applied, type Cluster, compile } from './fixtures/enacted-policies.js';
import {
  at,
  checkFlows,
  type Flow,
  INHABITANTS,
  type Inhabitant,
  NAMESPACE,
  rulesOf,
  WORLD,
} from './fixtures/migration-world.js';
import { openPodNetwork } from './fixtures/pod-network.js';
import { printManifest } from './fixtures/print-manifest.js';

const KINDS = {
  ovn: { apiVersion: 'k8s.ovn.org/v1', kind: 'EgressFirewall', name: 'default' },
  sdn: { apiVersion: 'network.openshift.io/v1', kind: 'EgressNetworkPolicy', name: 'theirs' },
} as const;

/** What there is already: nothing leaves the cluster. */
function denial(network: keyof typeof KINDS, namespace: string, more: readonly object[] = []): string {
  const { name, ...head } = KINDS[network];
  const deny = { type: 'Deny', to: { cidrSelector: '0.0.0.0/0' } };
  return stringify({ ...head, metadata: { name, namespace }, spec: { egress: [deny, ...more] } });
}

const needed: readonly Flow[] = [
  ['rsync', at('proxy', 3128)],
  ['rsync', at('nameServer', 53, 'udp')],
  ['rsync', at('nameServer', 53)],
];
const elsewhere: readonly Flow[] = [
  ['rsync', at('router', 443)],
  ['rsync', at('api', 6443)],
  ['rsync', at('outsider', 3128)],
  ['web', at('outsider', 443)],
];
/** Told apart where firewalls know ports. */
const otherPorts: readonly Flow[] = [
  ['rsync', at('proxy', 9128)],
  ['rsync', at('proxy', 3128, 'udp')],
  ['rsync', at('nameServer', 443)],
];
/** What stays in the cluster, and other namespaces. */
const untouched: readonly Flow[] = [
  ['rsync', at('dns', 5353, 'udp')],
  ['web', at('rsync', 8080)],
  ['neighbour', at('outsider', 443)],
];
/** An egress firewall is for all pods of the namespace. */
const sideEffect: readonly Flow[] = [['web', at('proxy', 3128)]];

const network = await openPodNetwork(await createWorkspace(t), INHABITANTS);

t.test('a source namespace gets to the proxy and to names, and nowhere else', async (t) => {
  for (const plugin of ['ovn', 'sdn'] as const) {
    const options = [
      ...['--proxy', '10.9.0.10:3128', '--source-namespace', NAMESPACE, '--dns-server', '10.9.0.53'],
      // Without NetworkPolicies in the way: every pod may do what the firewall lets it.
      ...['--policies', 'allow-all', '--network', plugin],
    ];
    const existing = denial(plugin, NAMESPACE);
    const file = `${t.testdir({ 'existing.yaml': existing })}/existing.yaml`;
    const enact = (...texts: readonly string[]): Promise<void> =>
      network.enact(rulesOf('1.8', { source: applied(...texts), target: [] }));

    await enact(existing);
    await checkFlows(t, network, `${plugin}, as it is`, {
      pass: untouched,
      stop: [...needed, ...elsewhere, ...otherPorts, ...sideEffect],
    });

    await enact(existing, printManifest('source', [...options, '--merge', file]));
    await checkFlows(t, network, `${plugin}, merged`, {
      pass: [...needed, ...untouched, ...sideEffect, ...(plugin === 'sdn' ? otherPorts : [])],
      stop: [...elsewhere, ...(plugin === 'ovn' ? otherPorts : [])],
    });

    const behind = { type: 'Allow', to: { cidrSelector: `${WORLD.proxy}/32` } };
    await enact(denial(plugin, NAMESPACE, [behind]));
    await checkFlows(t, network, `${plugin}, with the rule behind the Deny`, {
      pass: untouched,
      stop: needed,
    });

    await enact(printManifest('source', [...options, '--egress-firewall', 'new']));
    await checkFlows(t, network, `${plugin}, a new one by itself forbids nothing`, {
      pass: [...needed, ...elsewhere, ...otherPorts, ...untouched, ...sideEffect],
      stop: [],
    });
  }
});

t.test("the proxy's namespace gets to the target's router and API server, and nowhere else", async (t) => {
  const cluster: Omit<Cluster, 'objects'> = {
    pods: [{ address: WORLD.proxy, namespace: 'spliceway', labels: {} }],
    namespaces: {},
  };
  const toTarget: readonly Flow[] = [
    ['proxy', at('router', 443)],
    ['proxy', at('api', 6443)],
    ['proxy', at('nameServer', 53, 'udp')],
  ];
  const toOthers: readonly Flow[] = [
    ['proxy', at('router', 22)],
    ['proxy', at('destination', 6443)],
    ['proxy', at('outsider', 443)],
  ];
  const froms: readonly Inhabitant[] = ['rsync', 'outsider'];
  const clients = froms.map((from): Flow => [from, at('proxy', 3128)]);
  const existing = denial('ovn', 'spliceway');
  const file = `${t.testdir({ 'existing.yaml': existing })}/existing.yaml`;
  const argv = [
    ...['--target-router', `${WORLD.router}/32`, '--target-router', `${WORLD.api}/32`],
    ...['--target-apps', 'apps.target.test', '--target-api', 'api.target.test:6443'],
    ...['--dns-server', WORLD.nameServer, '--merge', file],
    ...['--password', 'of-the-tests'],
  ];
  await network.enact(compile([{ ...cluster, objects: applied(existing) }]));
  await checkFlows(t, network, 'as it is', { pass: clients, stop: [...toTarget, ...toOthers] });
  const merged = printManifest('proxy', argv).split(/^---$/m).at(-1) ?? '';
  await network.enact(compile([{ ...cluster, objects: applied(existing, merged) }]));
  await checkFlows(t, network, 'merged', { pass: [...clients, ...toTarget], stop: toOthers });
});
