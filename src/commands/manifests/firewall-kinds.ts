import type { KubernetesObject } from './manifest.js';

/** A destination of a rule: exactly one of these. */
export type EgressDestination = { readonly cidrSelector: string } | { readonly dnsName: string };

/** One rule; the first that fits a connection decides, and what none fits is allowed. */
export interface EgressRule {
  readonly type: 'Allow' | 'Deny';
  readonly to: EgressDestination;
  /** Absent: every port. OpenShift SDN knows no ports. */
  readonly ports?: readonly { readonly protocol: 'TCP' | 'UDP'; readonly port: number }[];
}

/**
 * `EgressFirewall` of OVN-Kubernetes, or `EgressNetworkPolicy` of OpenShift SDN: what the pods of a namespace may reach
 * outside of the cluster.
 *
 * Source: `go-controller/pkg/crd/egressfirewall/v1/types.go` of ovn-org/ovn-kubernetes; `network/v1/types.go` of
 * openshift/api.
 */
export interface EgressFirewall extends KubernetesObject {
  readonly spec: { readonly egress: readonly EgressRule[] };
}

/** The kinds by the network plugin, with the name that an object of ours gets and how many rules one may have. */
export const FIREWALL_KINDS = {
  ovn: {
    plugin: 'OVN-Kubernetes',
    apiVersion: 'k8s.ovn.org/v1',
    kind: 'EgressFirewall',
    name: 'default',
    resource: 'egressfirewall',
    maxRules: 8000,
  },
  sdn: {
    plugin: 'OpenShift SDN',
    apiVersion: 'network.openshift.io/v1',
    kind: 'EgressNetworkPolicy',
    name: 'spliceway-migration',
    resource: 'egressnetworkpolicy',
    maxRules: 1000,
  },
} as const;

/** One of `FIREWALL_KINDS`. */
export type FirewallKind = (typeof FIREWALL_KINDS)[keyof typeof FIREWALL_KINDS];
