import type { Material } from './manifest.js';

/** What clients connect to: the default of `--listen`. */
export const PROXY_PORT = 3128;

/** Metrics and probes: the default of `--admin`. */
export const ADMIN_PORT = 9128;

/** What an object belongs to: the pods and all that is about them, or the way to their metrics. */
export type Component = 'proxy' | 'metrics';

/**
 * The labels by which Services, policies and the Deployment itself find the pods. A Deployment cannot change them, so
 * they say nothing that ever changes.
 */
export function podLabels({ name }: Pick<Material, 'name'>): Record<string, string> {
  return selectorOf(name, 'proxy');
}

/** The labels by which the ServiceMonitor finds the Service of the metrics. */
export function metricsLabels({ name }: Pick<Material, 'name'>): Record<string, string> {
  return selectorOf(name, 'metrics');
}

/** What every object carries: the labels that Kubernetes recommends. */
export function labelsOf(
  { name, version }: Pick<Material, 'name' | 'version'>,
  component: Component = 'proxy',
): Record<string, string> {
  return {
    ...selectorOf(name, component),
    // A label cannot hold the plus sign of a semantic version.
    'app.kubernetes.io/version': version.replaceAll('+', '_'),
    'app.kubernetes.io/part-of': 'spliceway',
    'app.kubernetes.io/managed-by': 'spliceway-manifest',
  };
}

/** Name, namespace and labels of an object of the proxy's. */
export function metadataOf(
  material: Pick<Material, 'name' | 'namespace' | 'version'>,
  {
    name = material.name,
    component = 'proxy',
  }: { readonly name?: string; readonly component?: Component } = {},
): { name: string; namespace: string; labels: Record<string, string> } {
  return { name, namespace: material.namespace, labels: labelsOf(material, component) };
}

function selectorOf(instance: string, component: Component): Record<string, string> {
  return {
    'app.kubernetes.io/name': 'spliceway',
    'app.kubernetes.io/instance': instance,
    'app.kubernetes.io/component': component,
  };
}
