import type { Manifest, Material } from './manifest.js';
import { targetPolicies } from './network-policies.js';
import { targetNamespaces } from './target-namespaces.js';

/** What each destination namespace needs, where its cluster restricts who may reach its pods. */
export function targetObjects(material: Material): readonly Manifest[] {
  return targetNamespaces(material).flatMap((namespace) => targetPolicies(material, namespace));
}
