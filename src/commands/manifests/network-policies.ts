import type { NetworkPolicy, NetworkPolicyPort, NetworkPolicySpec } from 'kubernetes-types/networking/v1.js';
import { FIREWALL_KINDS } from './firewall-kinds.js';
import { type KubernetesObject, type Manifest, ManifestFailure, type Material } from './manifest.js';
import { blocks, clusterDnsRule, routers } from './policy-peers.js';
import { type ProxyAddress, proxyAddress } from './proxy-address.js';
import { PROXY_PORT, podLabels } from './proxy-identity.js';

/** What the pods of the migration in a source namespace must be let do: ask for names, reach the proxy and one another. */
export function sourcePolicies(material: Material, namespace: string): readonly Manifest[] {
  const { policies, toolkit } = material;
  const inside = toolkit.sourceStunnel === 'pod' ? [insidePolicy(material, namespace)] : [];
  if (policies === 'allow-all') {
    const comment = `Lets the pods of the migration send everything everywhere. A namespace without egress policies needs none.
Less will do: without --policies allow-all it is the proxy and DNS alone.`;
    const spec = { egress: [{}], policyTypes: ['Egress'] };
    return [
      { comment, object: policyFor(material, { namespace, name: 'allow-all-egress-from-rsync-pods', spec }) },
      ...inside,
    ];
  }
  const spec: Spec = {
    egress: [
      ...proxyRules(material, proxyAddress(material)),
      ...nameRules(material),
      ...(toolkit.sourceStunnel === 'pod'
        ? [{ to: [{ podSelector: migrationPods(material) }], ports: tcp(toolkit.stunnelPort) }]
        : []),
    ],
    policyTypes: ['Egress'],
  };
  const comment = `Lets the pods of the migration reach the proxy and DNS, and nothing else. A namespace without egress policies needs
none. Namespaces of Kubernetes before 1.21 lack the label that the rule for DNS goes by:
kubectl label namespace openshift-dns kubernetes.io/metadata.name=openshift-dns
OpenShift SDN of 4.9 and before ignores egress policies. If the namespace has an egress firewall as well (kubectl get
${FIREWALL_KINDS[material.network].resource} -A -o yaml > FILE), give it with --merge FILE. Delete this after the migration.`;
  return [
    { comment, object: policyFor(material, { namespace, name: 'spliceway-migration-egress', spec }) },
    ...inside,
  ];
}

/** What the pods of the migration in a target namespace must take: connections of the cluster's router. */
export function targetPolicies(material: Material, namespace: string): readonly Manifest[] {
  const { policies, toolkit } = material;
  if (policies === 'allow-all') {
    const comment = `Lets everybody connect to the pods of the migration. A namespace without ingress policies needs none.
Less will do: without --policies allow-all it is the router alone.`;
    const spec = { ingress: [{}], policyTypes: ['Ingress'] };
    return [
      { comment, object: policyFor(material, { namespace, name: 'allow-all-ingress-to-rsync-pods', spec }) },
    ];
  }
  const comment = `Lets the router reach the pods of the migration, and nobody else. A namespace without ingress policies needs none.
The second label is that of OpenShift 4.6 and before, the third that of routers in the network of their nodes, which
OpenShift SDN of 4.6 and before finds only where the namespace default has the second. With rsync_endpoint_type
NodePort or ClusterIP no router is on the way: use --policies allow-all. Delete it after the migration.`;
  const spec = { ingress: [{ from: routers(), ports: tcp(toolkit.stunnelPort) }], policyTypes: ['Ingress'] };
  return [{ comment, object: policyFor(material, { namespace, name: 'spliceway-migration-ingress', spec }) }];
}

type Spec = Omit<NetworkPolicySpec, 'podSelector'>;

/** Rsync's pods connect to the pod with stunnel: whoever forbids all ingress forbids that, too. */
function insidePolicy(material: Material, namespace: string): Manifest {
  const { policies, toolkit, mtc } = material;
  const allowAll = policies === 'allow-all';
  const from = [{ podSelector: migrationPods(material) }];
  const ingress = [allowAll ? {} : { from, ports: tcp(toolkit.stunnelPort) }];
  const name = allowAll ? 'allow-all-ingress-to-rsync-pods' : 'spliceway-migration-rsync-to-stunnel';
  return {
    comment: `MTC ${mtc} runs stunnel in a pod of its own, and rsync's pods connect to it.`,
    object: policyFor(material, { namespace, name, spec: { ingress, policyTypes: ['Ingress'] } }),
  };
}

function proxyRules(
  material: Material,
  { target, ranges, inCluster }: ProxyAddress,
): Spec['egress'] & object {
  const [, service, elsewhere] = /^([^.]+)\.([^.]+)\.svc(?:\.|$)/.exec(target.host) ?? [];
  if (ranges.length === 0 && !inCluster && elsewhere !== undefined)
    throw new ManifestFailure(
      `--proxy ${target.host}:${target.port} is not the Service ${material.name} of the namespace ${material.namespace}: set --namespace ${elsewhere} where the proxy runs in this cluster${service === material.name ? '' : `, and --name ${service}`}`,
    );
  if (ranges.length === 0 && !inCluster)
    throw new ManifestFailure(
      `--proxy ${target.host}:${target.port} is a name, and a NetworkPolicy knows addresses alone: add each of its addresses, as in --proxy-address 192.0.2.10/32`,
    );
  const { namespace } = material;
  const pods = {
    namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } },
    podSelector: { matchLabels: podLabels(material) },
  };
  return [
    ...(inCluster ? [{ to: [pods], ports: tcp(PROXY_PORT) }] : []),
    ...(ranges.length > 0 ? [{ to: blocks(ranges), ports: tcp(target.port) }] : []),
  ];
}

function nameRules({ dnsServer }: Material): Spec['egress'] & object {
  const ports = [{ protocol: 'UDP', port: 53 }, ...tcp(53)];
  return [clusterDnsRule(), ...(dnsServer.length > 0 ? [{ to: blocks(dnsServer), ports }] : [])];
}

function policyFor(
  material: Material,
  { namespace, name, spec }: { readonly namespace: string; readonly name: string; readonly spec: Spec },
): NetworkPolicy & KubernetesObject {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace },
    spec: { podSelector: migrationPods(material), ...spec },
  };
}

// Not by `owner`, which some of them lack.
function migrationPods({ toolkit }: Material): NetworkPolicySpec['podSelector'] {
  return { matchExpressions: [{ key: 'app', operator: 'In', values: [...toolkit.apps] }] };
}

function tcp(port: number): NetworkPolicyPort[] {
  return [{ protocol: 'TCP', port }];
}
