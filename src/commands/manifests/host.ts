import { type Manifest, ManifestFailure, type Material } from './manifest.js';

/** The patch of the MigrationController. */
export function hostObjects(_material: Material): readonly Manifest[] {
  throw new ManifestFailure('this part is not made yet');
}
