import t from 'tap';
import { problemsOf } from './fixtures/kubernetes-schemas.js';

const POLICY = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'a', namespace: 'b', labels: { anything: 'goes' } },
  spec: {
    podSelector: { matchLabels: { 'app.kubernetes.io/name': 'spliceway' } },
    policyTypes: ['Ingress'],
    ingress: [
      {
        from: [{ ipBlock: { cidr: '198.51.100.0/24', except: ['198.51.100.1/32'] } }],
        ports: [{ protocol: 'TCP', port: 3128 }],
      },
    ],
  },
};

t.test('an object that the schema knows altogether has no problems', async (t) => {
  t.same(await problemsOf(POLICY), []);
});

t.test('a misspelt field is found, wherever it stands', async (t) => {
  const misspelt = (from: string, to: string) =>
    problemsOf(JSON.parse(JSON.stringify(POLICY).replace(`"${from}"`, `"${to}"`)));
  t.match(await misspelt('policyTypes', 'policyType'), ['data/spec/policyType is not in the schema']);
  t.match(await misspelt('except', 'excepts'), [
    'data/spec/ingress/0/from/0/ipBlock/excepts is not in the schema',
  ]);
  t.match(await misspelt('port', 'prot'), ['data/spec/ingress/0/ports/0/prot is not in the schema']);
  t.match(await misspelt('spec', 'specs'), ['data/specs is not in the schema']);
});

t.test('a value of the wrong type, one out of an enumeration and a missing one are found', async (t) => {
  const { spec } = POLICY;
  t.match(await problemsOf({ ...POLICY, spec: { ...spec, policyTypes: 'Ingress' } }), [/policyTypes/]);
  t.match(await problemsOf({ ...POLICY, spec: { ...spec, ingress: [{ from: [{ ipBlock: {} }] }] } }), [
    /ipBlock must have required property cidr/,
  ]);
  const budget = { apiVersion: 'policy/v1', kind: 'PodDisruptionBudget', metadata: { name: 'a' } };
  t.match(await problemsOf({ ...budget, spec: { unhealthyPodEvictionPolicy: 'Always' } }), [
    /unhealthyPodEvictionPolicy/,
  ]);
});

t.test(
  'the schemas of the Prometheus operator are there, and a kind without a schema is an error',
  async (t) => {
    const monitor = {
      apiVersion: 'monitoring.coreos.com/v1',
      kind: 'ServiceMonitor',
      metadata: { name: 'a' },
      spec: { selector: {}, endpoints: [{ port: 'metrics', intervall: '30s' }] },
    };
    t.same(await problemsOf(monitor), ['data/spec/endpoints/0/intervall is not in the schema']);
    await t.rejects(problemsOf({ apiVersion: 'v1', kind: 'Prod' }), {
      message: 'there is no schema of v1 Prod',
    });
    await t.rejects(problemsOf({ apiVersion: 'k8s.ovn.org/v1', kind: 'EgressFirewall' }), {
      message: 'there is no schema of k8s.ovn.org/v1 EgressFirewall',
    });
  },
);
