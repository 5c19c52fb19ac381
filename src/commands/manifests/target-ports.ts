import type { Material } from './manifest.js';

/** The ports that the proxy has to reach: of Routes and of the API server, as far as these are known; otherwise all that spliceway allows by itself. */
export function targetPorts({ targetApps, targetApi }: Material): readonly number[] {
  const known = [
    ...(targetApps === undefined ? [] : [443]),
    ...(targetApi === undefined ? [] : [targetApi.port]),
  ];
  return known.length === 0 ? [443, 6443] : [...new Set(known)];
}
