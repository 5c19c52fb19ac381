import type { NetworkPolicyEgressRule, NetworkPolicyPeer } from 'kubernetes-types/networking/v1.js';

/** Where the cluster's name servers run: OpenShift, and others. */
const DNS_NAMESPACES = ['openshift-dns', 'kube-system'];

/** Where the caches of name servers listen that some clusters have on each node (NodeLocal DNSCache). */
const NODE_DNS = '169.254.20.10/32';

/** The ports of name servers. The pods behind the Service of OpenShift's listen on 5353. */
const DNS_PORTS = [53, 5353];

/** Lets pods ask the name servers of their cluster. */
export function clusterDnsRule(): NetworkPolicyEgressRule {
  return {
    to: [namespacesNamed(DNS_NAMESPACES), ...blocks([NODE_DNS])],
    ports: DNS_PORTS.flatMap((port) => [
      { protocol: 'UDP', port },
      { protocol: 'TCP', port },
    ]),
  };
}

/** The routers of the cluster, however they are connected to its network. */
export function routers(): NetworkPolicyPeer[] {
  return [
    { namespaceSelector: { matchLabels: { 'policy-group.network.openshift.io/ingress': '' } } },
    { namespaceSelector: { matchLabels: { 'network.openshift.io/policy-group': 'ingress' } } },
    {
      namespaceSelector: { matchLabels: { 'policy-group.network.openshift.io/host-network': '' } },
      // OVN-Kubernetes takes pods in the network of their nodes for pods only where a selector says so.
      podSelector: {},
    },
  ];
}

/** Addresses outside of the cluster, in CIDR notation. */
export function blocks(cidrs: readonly string[]): NetworkPolicyPeer[] {
  return cidrs.map((cidr) => ({ ipBlock: { cidr } }));
}

/** Every pod of the namespaces with these names. */
export function namespacesNamed(names: readonly string[]): NetworkPolicyPeer {
  return {
    namespaceSelector: {
      matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'In', values: [...names] }],
    },
  };
}
