import type { Material } from './manifest.js';

/** The namespaces that volumes arrive in, each once: those of the source, where nothing else is said. */
export function targetNamespaces({ sourceNamespace, targetNamespace }: Material): readonly string[] {
  return [...new Set(targetNamespace.length > 0 ? targetNamespace : sourceNamespace)];
}
