import { sourceFirewalls } from './egress-firewall.js';
import type { Manifest, Material } from './manifest.js';
import { sourcePolicies } from './network-policies.js';

/** What each source namespace needs, where its cluster restricts what its pods may reach. */
export function sourceObjects(material: Material): readonly Manifest[] {
  const namespaces = [...new Set(material.sourceNamespace)];
  return [
    ...namespaces.flatMap((namespace) => sourcePolicies(material, namespace)),
    ...sourceFirewalls(material, namespaces),
  ];
}
