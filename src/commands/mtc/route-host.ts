import { createHash } from 'node:crypto';

/** The longest label that MTC gives a Route's host; the most that DNS has is 63 (RFC 1035 §2.3.4). */
const LONGEST_LABEL = 62;

/**
 * The host of a Route that MTC makes in a destination namespace: `route` is its name (`dvm`, `dvm-block`), `apps` the
 * domain of the cluster's Routes. A namespace whose name would make the label too long is told by its MD5.
 *
 * Source: migtools/mig-controller, `ensureRsyncEndpoints`.
 */
export function routeHost(options: {
  readonly route: string;
  readonly namespace: string;
  readonly apps: string;
}): string {
  const { route, namespace, apps } = options;
  const label = `${route}-${namespace}`;
  const short = () => `${route}-${createHash('md5').update(namespace).digest('hex')}`;
  return `${label.length > LONGEST_LABEL ? short() : label}.${apps}`;
}

/** A POSIX extended regular expression for the host of every Route that MTC makes below `apps`, and for no other. */
export function routePattern(apps: string): string {
  return `^dvm-[^.]+\\.${apps.replaceAll('.', '\\.')}$`;
}
