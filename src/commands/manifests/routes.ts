import { type Manifest, ManifestFailure, type Material } from './manifest.js';

/** Annotations of Routes. */
export function routeObjects(_material: Material): readonly Manifest[] {
  throw new ManifestFailure('this part is not made yet');
}
