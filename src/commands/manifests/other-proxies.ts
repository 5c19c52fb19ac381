import type { Material } from './manifest.js';

/** Where another proxy than spliceway has to listen: on the port that --proxy says, or spliceway's own. */
export function listenPort({ proxy }: Material): number {
  return proxy?.port ?? 3128;
}

/** Where it leads to, for the first line of its configuration. */
export function describeTarget({ targetApps = '', targetApi }: Material): string {
  return `the Routes of ${targetApps}${targetApi === undefined ? '' : ` and to ${targetApi.host}`}`;
}

/** What Squid and tinyproxy have in common that spliceway does otherwise; measured with Squid 5.7, tinyproxy 1.11.1. */
export const ENDS_TOO_EARLY =
  '# - The end of one direction ends both, and a reset arrives as an ordinary end: nobody can tell a cut from the end.';
