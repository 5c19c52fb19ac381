import type { Deployment } from 'kubernetes-types/apps/v1.js';
import type { HorizontalPodAutoscaler } from 'kubernetes-types/autoscaling/v2.js';
import type { Container, PodSpec, Service } from 'kubernetes-types/core/v1.js';
import type { NetworkPolicy } from 'kubernetes-types/networking/v1.js';
import type { PodDisruptionBudget } from 'kubernetes-types/policy/v1.js';
import t from 'tap';
import { candidates } from '../src/upstream/resolve.js';
import { type Printed, proxyManifests } from './fixtures/manifests.js';

const NAMED = ['--name', 'shop', '--namespace', 'tunnels'];

/** Whether a pod with these labels is one that the selector means; an empty selector would mean all. */
function selects(
  selector: Readonly<Record<string, string>> | undefined,
  labels: Readonly<Record<string, string>> | undefined,
): boolean {
  const wanted = Object.entries(selector ?? {});
  return wanted.length > 0 && wanted.every(([key, value]) => labels?.[key] === value);
}

function parts(printed: Printed) {
  const deployment = printed.one('Deployment') as unknown as Deployment;
  const pod = deployment.spec?.template;
  const spec = pod?.spec as PodSpec;
  const [container] = spec.containers;
  return { deployment, labels: pod?.metadata?.labels, spec, container: container as Container };
}

t.test('whatever refers to something refers to what is printed', async (t) => {
  const printed = proxyManifests(NAMED);
  const { deployment, labels, spec, container } = parts(printed);
  for (const { kind, metadata } of printed.objects) {
    t.equal(metadata.namespace, kind === 'Namespace' ? undefined : 'tunnels', `${kind} is in the namespace`);
    t.match(metadata.labels, {
      'app.kubernetes.io/name': 'spliceway',
      'app.kubernetes.io/instance': 'shop',
      'app.kubernetes.io/version': '0.0.0',
      'app.kubernetes.io/component': /^(proxy|metrics)$/,
      'app.kubernetes.io/part-of': 'spliceway',
      'app.kubernetes.io/managed-by': 'spliceway-manifest',
    });
  }
  t.equal(printed.one('Namespace').metadata.name, 'tunnels');
  t.ok(printed.one('ServiceAccount', spec.serviceAccountName));
  t.ok(printed.one('ConfigMap', container.envFrom?.[0]?.configMapRef?.name));
  t.ok(printed.one('Secret', container.envFrom?.[1]?.secretRef?.name));

  const ports = new Map(container.ports?.map(({ name, containerPort }) => [name, containerPort]));
  t.same(
    [...ports],
    [
      ['proxy', 3128],
      ['admin', 9128],
    ],
  );
  for (const probe of [container.startupProbe, container.livenessProbe, container.readinessProbe])
    t.equal(probe?.httpGet?.port, 'admin');
  const service = printed.one('Service', 'shop') as unknown as Service;
  t.match(service.spec?.ports, [{ port: 3128, targetPort: 'proxy' }]);
  t.equal(service.spec?.ports?.length, 1, 'and nothing but the proxy is at a load balancer');
  const metrics = printed.one('Service', 'shop-metrics') as unknown as Service;
  t.match(metrics.spec, {
    type: 'ClusterIP',
    clusterIP: 'None',
    ports: [{ port: 9128, targetPort: 'admin' }],
  });
  const monitor = printed.one('ServiceMonitor').spec as {
    readonly selector: { readonly matchLabels: Record<string, string> };
    readonly endpoints: readonly { readonly port: string }[];
  };
  t.equal(monitor.endpoints[0]?.port, metrics.spec?.ports?.[0]?.name);
  t.ok(selects(monitor.selector.matchLabels, metrics.metadata?.labels));
  t.notOk(selects(monitor.selector.matchLabels, service.metadata?.labels), 'each pod is scraped once');

  const autoscaler = printed.one('HorizontalPodAutoscaler') as unknown as HorizontalPodAutoscaler;
  t.match(autoscaler.spec?.scaleTargetRef, { apiVersion: 'apps/v1', kind: 'Deployment', name: 'shop' });
  const budget = printed.one('PodDisruptionBudget') as unknown as PodDisruptionBudget;
  const policy = printed.one('NetworkPolicy') as unknown as NetworkPolicy;
  const selectors = [
    deployment.spec?.selector.matchLabels,
    service.spec?.selector,
    metrics.spec?.selector,
    budget.spec?.selector?.matchLabels,
    policy.spec?.podSelector?.matchLabels,
    ...(spec.topologySpreadConstraints ?? []).map(({ labelSelector }) => labelSelector?.matchLabels),
  ];
  t.equal(selectors.length, 7);
  const others = parts(proxyManifests([])).labels;
  for (const selector of selectors) {
    t.ok(selects(selector, labels));
    t.notOk(selects(selector, others), 'and not the pods of another proxy');
  }
  const later = proxyManifests(NAMED, { version: '9.9.9' }).one('Deployment') as unknown as Deployment;
  t.same(later.spec?.selector, deployment.spec?.selector, 'a new version can replace the old one');
});

t.test(
  'the pods pass Pod Security "restricted", and SCC restricted-v2 whatever user a namespace has',
  async (t) => {
    const { spec, container } = parts(proxyManifests([]));
    // https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    t.match(spec.securityContext, { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
    t.same(container.securityContext, {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      runAsNonRoot: true,
      capabilities: { drop: ['ALL'] },
    });
    for (const field of ['hostNetwork', 'hostPID', 'hostIPC', 'volumes', 'initContainers'])
      t.notOk(field in spec, `no ${field}`);
    t.notOk(container.ports?.some(({ hostPort }) => hostPort !== undefined));
    // A number of our own would lie outside of the range that OpenShift gives a namespace.
    t.notMatch(JSON.stringify(spec), /runAsUser|runAsGroup|fsGroup|supplementalGroups|seLinuxOptions/);
    t.equal(spec.automountServiceAccountToken, false);
    t.equal(proxyManifests([]).one('ServiceAccount').automountServiceAccountToken, false);
    t.equal(spec.enableServiceLinks, false);
    t.match(proxyManifests([]).one('Namespace').metadata.labels, {
      'pod-security.kubernetes.io/enforce': 'restricted',
      'pod-security.kubernetes.io/audit': 'restricted',
      'pod-security.kubernetes.io/warn': 'restricted',
    });
  },
);

t.test(
  'the pods ask for names as they are, may use every core, and are not killed for what they ask for',
  async (t) => {
    const { spec, container } = parts(proxyManifests([]));
    const ndots = Number(spec.dnsConfig?.options?.find(({ name }) => name === 'ndots')?.value);
    const domains = ['spliceway.svc.cluster.local', 'cluster.local', 'corp.example'];
    t.equal(candidates('dvm-a.apps.target.example', { domains, ndots })[0], 'dvm-a.apps.target.example');
    const { requests, limits } = container.resources ?? {};
    t.match(requests, { cpu: '250m', memory: /^[0-9]+Mi$/ });
    t.same(Object.keys(limits ?? {}), ['memory']);
    const mebibytes = (text = '') => Number.parseInt(text, 10) * (text.endsWith('Gi') ? 1024 : 1);
    t.ok(mebibytes(limits?.memory) > mebibytes(requests?.memory));
  },
);

t.test('updates take no capacity, and the number of pods is decided in one place', async (t) => {
  const { deployment } = parts(proxyManifests([]));
  t.same(deployment.spec?.strategy?.rollingUpdate, { maxUnavailable: 0, maxSurge: 1 });
  const numbers = ['--replicas', '3', '--max-replicas', '5'];
  const scaled = proxyManifests(numbers);
  t.equal(parts(scaled).deployment.spec?.replicas, undefined);
  t.match(scaled.one('HorizontalPodAutoscaler').spec, { minReplicas: 3, maxReplicas: 5 });
  const fixed = proxyManifests([...numbers, '--without', 'HorizontalPodAutoscaler']);
  t.equal(parts(fixed).deployment.spec?.replicas, 3);
});

t.test(
  'a Service shows the addresses of clients where they decide, and nothing at all where it need not',
  async (t) => {
    const service = (...options: readonly string[]) =>
      (proxyManifests(options).one('Service', 'spliceway') as unknown as Service).spec;
    const client = ['--client', '198.51.100.0/24', '--client', '2001:db8::/32'];
    t.match(service(), {
      type: 'LoadBalancer',
      externalTrafficPolicy: 'Local',
      ipFamilyPolicy: 'PreferDualStack',
    });
    t.equal(service()?.loadBalancerSourceRanges, undefined);
    t.same(service(...client)?.loadBalancerSourceRanges, ['198.51.100.0/24', '2001:db8::/32']);
    t.equal(service('--service', 'NodePort')?.externalTrafficPolicy, 'Cluster', 'every node answers');
    t.match(service('--service', 'NodePort', ...client), { externalTrafficPolicy: 'Local' });
    t.equal(service('--service', 'ClusterIP')?.externalTrafficPolicy, undefined);
  },
);

t.test('the policy lets in clients and Prometheus, and out to name servers and the target', async (t) => {
  const policy = (...options: readonly string[]) =>
    (proxyManifests(options).one('NetworkPolicy') as unknown as NetworkPolicy).spec;
  const open = policy();
  t.same(open?.policyTypes, ['Ingress', 'Egress']);
  t.same(open?.ingress?.[0], { ports: [{ protocol: 'TCP', port: 3128 }] }, 'from everywhere');
  t.match(open?.ingress?.[1]?.ports, [{ protocol: 'TCP', port: 9128 }]);
  t.equal(open?.ingress?.length, 2);
  t.ok(
    open?.ingress?.[1]?.from?.every(({ namespaceSelector }) =>
      namespaceSelector?.matchExpressions?.every(
        ({ key, operator, values }) =>
          key === 'kubernetes.io/metadata.name' && operator === 'In' && (values?.length ?? 0) > 0,
      ),
    ),
    'and to the metrics from these namespaces alone',
  );
  t.same(
    open?.egress?.[0]?.ports?.map(({ protocol, port }) => `${protocol} ${port}`),
    ['UDP 53', 'TCP 53', 'UDP 5353', 'TCP 5353'],
  );
  const target = (...options: readonly string[]) => {
    const { to, ports } = policy(...options)?.egress?.[1] ?? {};
    return { to: to?.map(({ ipBlock }) => ipBlock?.cidr), ports: ports?.map(({ port }) => port) };
  };
  const apps = ['--target-apps', 'apps.target.example'];
  const api = ['--target-api', 'api.target.example:8443'];
  const router = ['--target-router', '203.0.113.10', '--target-router', '2001:db8::/64'];
  t.same(target(), { to: undefined, ports: [443, 6443] });
  t.same(target(...apps), { to: undefined, ports: [443] });
  t.same(target(...apps, ...api), { to: undefined, ports: [443, 8443] });
  t.same(target(...api, ...router), { to: ['203.0.113.10/32', '2001:db8::/64'], ports: [8443] });
  t.same(policy('--client', '198.51.100.7')?.ingress?.[0]?.from, [{ ipBlock: { cidr: '198.51.100.7/32' } }]);
});

t.test(
  'the image is the one given, or the one in the namespace of the registry of OpenShift, of this version',
  async (t) => {
    const image = (...options: readonly string[]) =>
      parts(proxyManifests(options, { version: '1.2.3+build.4' })).container.image;
    t.equal(
      image('--namespace', 'tunnels'),
      'image-registry.openshift-image-registry.svc:5000/tunnels/spliceway:1.2.3_build.4',
    );
    t.equal(image('--image', 'registry.example/a/b:1'), 'registry.example/a/b:1');
  },
);

t.test('nobody finds the password in what is printed but in the Secret', async (t) => {
  const { text, one } = proxyManifests([]);
  const encoded = String((one('Secret').data as Record<string, string>).SPLICEWAY_PASSWORD);
  t.notMatch(text, Buffer.from(encoded, 'base64').toString());
  t.equal(text.split(encoded).length, 2);
  const checksum = (...options: readonly string[]) =>
    parts(proxyManifests(options)).deployment.spec?.template.metadata?.annotations;
  t.equal(checksum()?.['cluster-autoscaler.kubernetes.io/safe-to-evict'], 'false', 'nodes wait for tunnels');
  const known = (annotations: object = {}) =>
    Object.keys(annotations).filter((key) => key.startsWith('checksum/'));
  t.same(known(checksum()), ['checksum/config', 'checksum/credential']);
  t.not(
    checksum('--password', 'a')?.['checksum/credential'],
    checksum('--password', 'b')?.['checksum/credential'],
  );
  t.equal(checksum('--password', 'a')?.['checksum/config'], checksum()?.['checksum/config']);
  t.not(checksum('--drain-timeout', '1m')?.['checksum/config'], checksum()?.['checksum/config']);
  t.same(
    known(checksum('--without', 'Secret', '--without', 'ConfigMap')),
    [],
    'of what is not printed nothing is known',
  );
});
