import { Document } from 'yaml';
import { type Manifest, ManifestFailure } from './manifest.js';

/**
 * Manifests as one stream of YAML documents, each below its comment. Ends with a line end. Throws `ManifestFailure` where two are
 * one and the same object: applied one after the other, the second would take back the first.
 */
export function printManifests(manifests: readonly Manifest[]): string {
  const names = manifests.map(
    ({ object: { kind, metadata } }) => `${kind} ${metadata.namespace ?? ''}/${metadata.name}`,
  );
  const twice = names.find((name, at) => names.indexOf(name) < at);
  if (twice !== undefined)
    throw new ManifestFailure(
      `two parts print ${twice}, and the second would take back the first: print and apply one part, then give what is there to the other with --merge`,
    );
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
