import { type Manifest, ManifestFailure, type Material } from './manifest.js';

/** What source namespaces need. */
export function sourceObjects(_material: Material): readonly Manifest[] {
  throw new ManifestFailure('this part is not made yet');
}
