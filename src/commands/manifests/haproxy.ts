import { ManifestFailure, type Material } from './manifest.js';

/** haproxy.cfg. */
export function haproxyConfiguration(_material: Material): string {
  throw new ManifestFailure('this part is not made yet');
}
