import { PROXY_KINDS, type ProxyKind } from '../../config/manifest-options.js';
import { proxyFirewalls } from './egress-firewall.js';
import type { Manifest, Material } from './manifest.js';
import { configMapOf, namespaceOf, secretOf, serviceAccountOf } from './proxy-configuration.js';
import { metricsServiceOf, networkPolicyOf, serviceMonitorOf, serviceOf } from './proxy-network.js';
import { autoscalerOf, deploymentOf, disruptionBudgetOf } from './proxy-workload.js';

/** How the objects of each kind are made from the material and the kinds that are printed. */
const MAKERS: Readonly<
  Record<ProxyKind, (material: Material, kinds: ReadonlySet<string>) => readonly Manifest[]>
> = {
  Namespace: (material) => [namespaceOf(material)],
  Secret: (material) => [secretOf(material)],
  ConfigMap: (material) => [configMapOf(material)],
  ServiceAccount: (material) => [serviceAccountOf(material)],
  NetworkPolicy: (material) => [networkPolicyOf(material)],
  Service: (material) => [serviceOf(material), metricsServiceOf(material)],
  Deployment: (material, kinds) => [deploymentOf(material, kinds)],
  PodDisruptionBudget: (material) => [disruptionBudgetOf(material)],
  HorizontalPodAutoscaler: (material) => [autoscalerOf(material)],
  ServiceMonitor: (material) => [serviceMonitorOf(material)],
};

/**
 * Whether a namespace can be the proxy's own. Those that a cluster has from the start are not: whoever deletes the objects of
 * the proxy would delete them, and what Pod Security refuses there is their business.
 */
export function isOwnNamespace(namespace: string): boolean {
  return !/^(?:default$|kube-|openshift(?:-|$))/.test(namespace);
}

/**
 * The proxy itself: its objects in the order in which they need each other, without the kinds of `--without`; and the egress
 * firewall of its namespace, where one is asked for. With `--unmerge` that alone.
 */
export function proxyObjects(material: Material): readonly Manifest[] {
  if (material.unmerge.length > 0) return proxyFirewalls(material);
  const kinds = PROXY_KINDS.filter(
    (kind) =>
      !material.without.includes(kind) && (kind !== 'Namespace' || isOwnNamespace(material.namespace)),
  );
  return [...kinds.flatMap((kind) => MAKERS[kind](material, new Set(kinds))), ...proxyFirewalls(material)];
}
