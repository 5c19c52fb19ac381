import type { Service, ServiceSpec } from 'kubernetes-types/core/v1.js';
import type { NetworkPolicy, NetworkPolicyEgressRule } from 'kubernetes-types/networking/v1.js';
import type { Manifest, Material } from './manifest.js';
import { blocks, clusterDnsRule, namespacesNamed, routers } from './policy-peers.js';
import { ADMIN_PORT, metadataOf, metricsLabels, PROXY_PORT, podLabels } from './proxy-identity.js';
import { ADMIN_PORT_NAME, PROXY_PORT_NAME } from './proxy-workload.js';
import { targetPorts } from './target-ports.js';

/** Where Prometheus runs: OpenShift's two, and the namespace that others use. */
const MONITORING_NAMESPACES = ['openshift-monitoring', 'openshift-user-workload-monitoring', 'monitoring'];

const METRICS_PORT_NAME = 'metrics';

/** Where clients connect to. */
export function serviceOf(material: Material): Manifest {
  const object = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      ...metadataOf(material),
      ...(material.service === 'LoadBalancer'
        ? { annotations: { 'service.beta.kubernetes.io/aws-load-balancer-type': 'nlb' } }
        : {}),
    },
    spec: {
      type: material.service,
      ...reachOf(material),
      ipFamilyPolicy: 'PreferDualStack',
      selector: podLabels(material),
      ports: [
        {
          name: PROXY_PORT_NAME,
          port: PROXY_PORT,
          targetPort: PROXY_PORT_NAME,
          protocol: 'TCP',
          appProtocol: 'tcp',
        },
      ],
    },
  } satisfies Service;
  return { comment: serviceComment(material), object };
}

function serviceComment({ service, name, namespace, client }: Material): string {
  const begin =
    'Where the pods of the source cluster reach the proxy: every connection goes to one pod, and stays there.';
  const check = `Check: kubectl get service -n ${namespace} ${name} tells the address for stunnel_tcp_proxy`;
  switch (service) {
    case 'LoadBalancer':
      return `${begin}
Local: the proxy sees the addresses of clients. On AWS it has to be a network load balancer, for a classic one cuts
tunnels that are silent for 60 s.
${check}${client.length > 0 ? '.' : ',\nand strangers do not reach it (--client, or what your cloud calls an internal load balancer).'}`;
    case 'NodePort':
      return `${begin}
${
  client.length > 0
    ? 'Local: only nodes with a pod answer, and the proxy sees the addresses of clients.'
    : 'Every node answers, and the proxy sees their addresses; with --client, those of clients.'
}
${check}:
the port of 30000 or more, at the address of a node.`;
    case 'ClusterIP':
      return `Where pods of this cluster reach the proxy, as ${name}.${namespace}.svc: every connection goes to one pod, and stays there.
Check: the source cluster is this one; nobody comes in here from outside.`;
  }
}

/** The part of the Service that depends on its type. */
function reachOf({ service, client }: Material): Partial<ServiceSpec> {
  const isLocal = service === 'LoadBalancer' || (service === 'NodePort' && client.length > 0);
  return {
    ...(service === 'ClusterIP' ? {} : { externalTrafficPolicy: isLocal ? 'Local' : 'Cluster' }),
    ...(service === 'LoadBalancer' && client.length > 0 ? { loadBalancerSourceRanges: [...client] } : {}),
  };
}

/** Where Prometheus finds each pod. */
export function metricsServiceOf(material: Material): Manifest {
  const object = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: metadataOf(material, { name: `${material.name}-metrics`, component: 'metrics' }),
    spec: {
      type: 'ClusterIP',
      clusterIP: 'None',
      ipFamilyPolicy: 'PreferDualStack',
      // A pod that drains still counts.
      publishNotReadyAddresses: true,
      selector: podLabels(material),
      ports: [
        {
          name: METRICS_PORT_NAME,
          port: ADMIN_PORT,
          targetPort: ADMIN_PORT_NAME,
          protocol: 'TCP',
          appProtocol: 'http',
        },
      ],
    },
  } satisfies Service;
  return {
    comment: `Where Prometheus finds the metrics of each pod, draining ones too. A Service of its own, so that no load balancer ever
leads to them.`,
    object,
  };
}

/** What may reach the pods, and what they may reach. */
export function networkPolicyOf(material: Material): Manifest {
  const { client, targetRouter } = material;
  const object = {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: metadataOf(material),
    spec: {
      podSelector: { matchLabels: podLabels(material) },
      policyTypes: ['Ingress', 'Egress'],
      ingress: [
        {
          ...(client.length === 0 ? {} : { from: blocks(client) }),
          ports: [{ protocol: 'TCP', port: PROXY_PORT }],
        },
        { from: [namespacesNamed(MONITORING_NAMESPACES)], ports: [{ protocol: 'TCP', port: ADMIN_PORT }] },
      ],
      egress: [clusterDnsRule(), targetRule(material)],
    },
  } satisfies NetworkPolicy;
  const from = client.length === 0 ? 'everybody (--client narrows it)' : 'the addresses of --client';
  const to =
    targetRouter.length === 0
      ? 'ports of the target anywhere (--target-router narrows it)'
      : 'the router of the target';
  return {
    comment: `Who reaches the proxy: ${from}, and Prometheus its metrics; probes come from the node, which is let through.
What the proxy reaches: name servers of the cluster, and ${to}.
Check: DNS and Prometheus run in namespaces that stand here; name servers outside of the cluster, and other proxies on the way
(--parent), need a rule of their own.`,
    object,
  };
}

/** As much as the rules of the proxy itself let through: Routes and API servers, where nothing is known. */
function targetRule(material: Material): NetworkPolicyEgressRule {
  const { targetRouter } = material;
  const outside = targetRouter.filter((router) => router !== 'cluster');
  const inCluster = outside.length < targetRouter.length;
  return {
    ...(targetRouter.length === 0 ? {} : { to: [...(inCluster ? routers() : []), ...blocks(outside)] }),
    ports: targetPorts(material).map((port) => ({ protocol: 'TCP', port })),
  };
}

/** What has Prometheus scrape the metrics. */
export function serviceMonitorOf(material: Material): Manifest {
  const object: ServiceMonitor = {
    apiVersion: 'monitoring.coreos.com/v1',
    kind: 'ServiceMonitor',
    metadata: metadataOf(material),
    spec: {
      selector: { matchLabels: metricsLabels(material) },
      endpoints: [{ port: METRICS_PORT_NAME, path: '/metrics', interval: '30s' }],
    },
  };
  return {
    comment: `Has the Prometheus operator scrape every pod. On OpenShift, monitoring of user workloads must be on (ConfigMap
cluster-monitoring-config: enableUserWorkload: true). A Prometheus of your own may look for a label, such as release.`,
    object,
  };
}

/**
 * As much of `monitoring.coreos.com/v1` ServiceMonitor as is printed.
 *
 * Source: https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.ServiceMonitor
 */
interface ServiceMonitor {
  readonly apiVersion: 'monitoring.coreos.com/v1';
  readonly kind: 'ServiceMonitor';
  readonly metadata: Manifest['object']['metadata'];
  readonly spec: {
    readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
    readonly endpoints: readonly {
      readonly port: string;
      readonly path: string;
      readonly interval: string;
    }[];
  };
}
