import { ManifestFailure, type Material } from './manifest.js';

/** tinyproxy.conf. */
export function tinyproxyConfiguration(_material: Material): string {
  throw new ManifestFailure('this part is not made yet');
}
