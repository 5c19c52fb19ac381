import t from 'tap';
import { createWorkspace } from './fixtures/e2e-clusters.js';
import { applied, type Cluster, compile } from './fixtures/enacted-policies.js';
import { type Destination, openPodNetwork, type PodNetwork } from './fixtures/pod-network.js';

// What the tests of the manifests go by: that rules do here what they do in a cluster.

const ADDRESSES = {
  a: '10.1.0.1',
  b: '10.1.0.2',
  c: '10.1.0.3',
  node: '10.1.0.4',
  outside: '10.9.0.1',
} as const;

type Name = keyof typeof ADDRESSES;

const CLUSTER: Omit<Cluster, 'objects'> = {
  pods: [
    { address: ADDRESSES.a, namespace: 'one', labels: { app: 'a', tier: 'front' } },
    { address: ADDRESSES.b, namespace: 'one', labels: { app: 'b' } },
    { address: ADDRESSES.c, namespace: 'two', labels: { app: 'c' } },
    { address: ADDRESSES.node, namespace: 'nodes', labels: {}, hostNetwork: true },
  ],
  namespaces: { one: {}, two: { team: 'x' }, nodes: { team: 'x' } },
  names: { 'outside.example': ADDRESSES.outside },
};

/** `a>b` is a connection to TCP port 80, `a>b:udp/53` another one. */
type Flow = string;

const policy = (spec: string, name = 'p') =>
  `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: ${name}, namespace: one}, spec: {${spec}}}`;
const firewall = (egress: string, kind = 'EgressFirewall', name = 'default') =>
  `{kind: ${kind}, metadata: {name: ${name}, namespace: one}, spec: {egress: [${egress}]}}`;
const DENY = policy('podSelector: {}, policyTypes: [Ingress, Egress]', 'deny');

const CASES: readonly {
  readonly promise: string;
  readonly objects: readonly string[];
  readonly pass: readonly Flow[];
  readonly stop: readonly Flow[];
}[] = [
  {
    promise: 'without policies everything passes',
    objects: [],
    pass: ['a>b', 'a>c:udp/53', 'c>a', 'node>a', 'outside>a', 'a>outside'],
    stop: [],
  },
  {
    promise: 'a policy without rules isolates what it selects, in its directions and its namespace',
    objects: [DENY],
    pass: ['c>node', 'c>outside', 'outside>c'],
    stop: ['a>b', 'a>outside', 'a>c:udp/53', 'outside>a', 'c>a', 'node>b'],
  },
  {
    promise: 'without policyTypes it is about ingress, and about egress where that is written',
    objects: [
      policy('podSelector: {matchLabels: {app: a}}', 'in'),
      policy('podSelector: {matchLabels: {app: b}}, egress: [{ports: [{port: 80}]}]', 'out'),
    ],
    pass: ['a>c', 'a>c:tcp/81', 'b>c', 'c>node'],
    stop: ['c>a', 'c>b', 'b>c:tcp/81'],
  },
  {
    promise: 'an empty list of types, or of egress rules without types, is as good as none',
    objects: [
      policy('podSelector: {matchLabels: {app: a}}, policyTypes: [], egress: []', 'types'),
      policy('podSelector: {matchLabels: {app: b}}, egress: []', 'rules'),
    ],
    pass: ['a>c', 'b>c'],
    stop: ['c>a', 'c>b'],
  },
  {
    promise: 'policies of one pod add up',
    objects: [
      DENY,
      policy(
        'podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.9.0.0/24}}], ports: [{port: 80}]}]',
        'x',
      ),
      policy(
        'podSelector: {matchLabels: {app: a}}, policyTypes: [Egress], egress: [{ports: [{protocol: UDP, port: 53}]}]',
        'y',
      ),
    ],
    pass: ['a>outside', 'b>outside', 'a>c:udp/53', 'a>outside:udp/53'],
    stop: ['a>outside:tcp/81', 'a>c', 'b>c:udp/53', 'outside>a'],
  },
  {
    promise: 'blocks have exceptions, ports have ends',
    objects: [
      policy(
        'podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.9.0.0/16]}}], ports: [{port: 80, endPort: 90}]}]',
      ),
    ],
    pass: ['a>c', 'a>c:tcp/90', 'a>b:tcp/85'],
    stop: ['a>outside', 'a>c:tcp/91', 'a>c:udp/80', 'a>c:tcp/79'],
  },
  {
    promise: 'a podSelector alone is about the own namespace, with a namespaceSelector about those',
    objects: [
      policy(
        'podSelector: {matchLabels: {app: a}}, ingress: [{from: [{podSelector: {matchLabels: {app: b}}}]}]',
        'x',
      ),
      policy(
        'podSelector: {matchLabels: {app: b}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: x}}, podSelector: {matchLabels: {app: c}}}]}]',
        'y',
      ),
    ],
    pass: ['b>a', 'c>b'],
    stop: ['c>a', 'a>b', 'outside>a', 'outside>b', 'node>b'],
  },
  {
    promise: 'a namespaceSelector finds pods of the network of their nodes with a podSelector alone',
    objects: [
      policy(
        'podSelector: {matchLabels: {app: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: x}}}]}]',
        'x',
      ),
      policy(
        'podSelector: {matchLabels: {app: b}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: x}}, podSelector: {}}]}]',
        'y',
      ),
    ],
    pass: ['c>a', 'c>b', 'node>b'],
    stop: ['node>a', 'outside>a'],
  },
  {
    promise: 'expressions select',
    objects: [
      policy(
        'podSelector: {matchExpressions: [{key: app, operator: In, values: [a, z]}]}, ingress: []',
        'in',
      ),
      policy(
        'podSelector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}, policyTypes: [Egress]',
        'not',
      ),
    ],
    pass: ['a>c', 'c>b', 'a>b'],
    stop: ['c>a', 'b>c'],
  },
  {
    promise: 'of an egress firewall the first rule that fits decides, for what leaves the cluster',
    objects: [
      firewall(
        '{type: Allow, to: {dnsName: outside.example}, ports: [{protocol: TCP, port: 80}]}, {type: Deny, to: {cidrSelector: 0.0.0.0/0}}, {type: Allow, to: {cidrSelector: 10.9.0.0/24}}',
      ),
    ],
    pass: ['a>outside', 'b>outside', 'a>b', 'a>c', 'c>outside:tcp/81', 'outside>a'],
    stop: ['a>outside:tcp/81', 'a>outside:udp/53', 'a>node'],
  },
  {
    promise: 'what no rule of it fits is allowed; two of OpenShift SDN in a namespace stop everything',
    objects: [firewall('{type: Deny, to: {cidrSelector: 10.8.0.0/16}}', 'EgressNetworkPolicy')],
    pass: ['a>outside'],
    stop: [],
  },
  {
    promise: 'two egress policies of OpenShift SDN in a namespace stop all that leaves the cluster',
    objects: [
      firewall('{type: Allow, to: {cidrSelector: 0.0.0.0/0}}', 'EgressNetworkPolicy', 'x'),
      firewall('{type: Allow, to: {cidrSelector: 0.0.0.0/0}}', 'EgressNetworkPolicy', 'y'),
    ],
    pass: ['a>b', 'c>outside'],
    stop: ['a>outside'],
  },
];

t.test('objects are enacted as Kubernetes and the network plugins document them', async (t) => {
  const workspace = await createWorkspace(t);
  const hosts = Object.entries(ADDRESSES).map(([name, address]) => ({ name, address }));
  const network = await openPodNetwork(workspace, hosts);
  for (const { promise, objects, pass, stop } of CASES) {
    await network.enact(compile([{ ...CLUSTER, objects: applied(...objects) }]));
    const passed = await flowsThat(network, [...pass, ...stop]);
    t.same(passed, pass, promise);
  }
});

t.test('of objects of one name the last remains', async (t) => {
  const kept = applied(
    policy('podSelector: {}', 'p'),
    policy('podSelector: {matchLabels: {app: a}}', 'p'),
    DENY,
  );
  t.same(
    kept.map(({ metadata }) => metadata.name),
    ['p', 'deny'],
  );
  t.match(kept[0], { spec: { podSelector: { matchLabels: { app: 'a' } } } });
});

/** Those of the flows that get there, in their order. */
async function flowsThat(network: PodNetwork, flows: readonly Flow[]): Promise<readonly Flow[]> {
  const reached = await Promise.all(
    flows.map(async (flow) => {
      const [, from = '', to = '', protocol = 'tcp', port = '80'] =
        /^(\w+)>(\w+)(?::(\w+)\/(\d+))?$/.exec(flow) ?? [];
      // Names of the table above; a wrong one has no address, and fails.
      const destination = `${protocol}/${ADDRESSES[to as Name]}/${port}` as Destination;
      return (await network.reach(from, [destination]))[0];
    }),
  );
  return flows.filter((_, index) => reached[index]);
}
