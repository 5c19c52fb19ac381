import { sourceFirewalls } from './egress-firewall.js';
import type { Manifest, Material } from './manifest.js';
import { sourcePolicies } from './network-policies.js';

/** What each source namespace needs, where its cluster restricts what its pods may reach; with `--unmerge` its egress firewall alone. */
export function sourceObjects(material: Material): readonly Manifest[] {
  const namespaces = [...new Set(material.sourceNamespace)];
  if (material.unmerge.length > 0) return sourceFirewalls(material, namespaces);
  return [
    ...namespaces.flatMap((namespace) => sourcePolicies(material, namespace)),
    ...sourceFirewalls(material, namespaces),
  ];
}
