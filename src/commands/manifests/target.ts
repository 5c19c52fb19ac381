import { type Manifest, ManifestFailure, type Material } from './manifest.js';

/** What destination namespaces need. */
export function targetObjects(_material: Material): readonly Manifest[] {
  throw new ManifestFailure('this part is not made yet');
}
