import { ManifestFailure, type Material } from './manifest.js';

/** stunnel.conf. */
export function stunnelConfiguration(_material: Material): string {
  throw new ManifestFailure('this part is not made yet');
}
