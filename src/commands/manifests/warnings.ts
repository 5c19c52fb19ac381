import type { Material } from './manifest.js';
import { describeNeedless } from './merge.js';
import type { Part } from './parts.js';

/**
 * What is odd about what is asked for, and stops nothing: a sentence each, for standard error. Throws `ManifestFailure` for
 * files of `--merge` and `--unmerge` that hold something else.
 */
export function warningsOf(material: Material, parts: readonly Part[]): readonly string[] {
  return mergeWarnings(material, parts);
}

function mergeWarnings(material: Material, parts: readonly Part[]): readonly string[] {
  const namespaces = parts.flatMap(({ merges }) => merges?.(material) ?? []);
  if (namespaces.length > 0) return describeNeedless(material, namespaces);
  return material.merge.length > 0
    ? ['--merge changes nothing here: source and proxy are the parts with egress firewalls']
    : [];
}
