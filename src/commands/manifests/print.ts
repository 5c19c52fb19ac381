import { Document } from 'yaml';
import type { Manifest } from './manifest.js';

/** Manifests as one stream of YAML documents, each below its comment. Ends with a line end. */
export function printManifests(manifests: readonly Manifest[]): string {
  return manifests.map(({ comment, object }) => printManifest(comment, object)).join('---\n');
}

function printManifest(comment: string, object: Manifest['object']): string {
  // Aliases for what occurs twice would be valid, and nobody would want to edit them.
  const document = new Document(object, { aliasDuplicateObjects: false });
  document.commentBefore = comment.replace(/^(?=.)/gm, ' ');
  return document.toString({ lineWidth: 0 });
}
