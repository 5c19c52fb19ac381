import { ManifestFailure, type Material } from './manifest.js';

/** squid.conf. */
export function squidConfigurationFile(_material: Material): string {
  throw new ManifestFailure('this part is not made yet');
}
