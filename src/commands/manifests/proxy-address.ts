import type { Target } from '../../target.js';
import { ManifestFailure, type Material } from './manifest.js';

/** Where the pods of the source reach the proxy, as firewalls see it. */
export interface ProxyAddress {
  /** As `stunnel_tcp_proxy` says it. */
  readonly target: Target;
  /** Ranges that hold its addresses; empty where it is given by name alone. */
  readonly ranges: readonly string[];
  /** It is the Service of this very proxy, in the cluster of the source: what leads there is its pods' business. */
  readonly inCluster: boolean;
}

/** Throws `ManifestFailure` without `--proxy`. */
export function proxyAddress(material: Material): ProxyAddress {
  const { proxy: target, proxyAddress: given, name, namespace } = material;
  if (target === undefined) throw new ManifestFailure('--proxy is missing');
  const own = target.family === 0 ? [] : [`${target.host}/${target.family === 4 ? 32 : 128}`];
  const service = `${name}.${namespace}.svc`;
  return {
    target,
    ranges: given.length > 0 ? given : own,
    inCluster: target.host === service || target.host.startsWith(`${service}.`),
  };
}
