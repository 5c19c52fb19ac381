import { Document } from 'yaml';
import type { Manifest } from './manifest.js';

/** Manifests as one stream of YAML documents, each below its comment. Ends with a line end. */
export function printManifests(manifests: readonly Manifest[]): string {
  return manifests.map(printManifest).join('---\n');
}

function printManifest(manifest: Manifest): string {
  const { comment, object } = manifest;
  // Aliases for what occurs twice would be valid, and nobody would want to edit them. kubectl reads YAML 1.1, in which no, on
  // and y are not text: a namespace may be called so.
  const document =
    manifest.document ?? new Document(object, { aliasDuplicateObjects: false, compat: 'yaml-1.1' });
  document.commentBefore = comment.replace(/^(?=.)/gm, ' ');
  return document.toString({ lineWidth: 0 });
}
