import { createHash, scryptSync } from 'node:crypto';
import type { ConfigMap, Namespace, Secret, ServiceAccount } from 'kubernetes-types/core/v1.js';
import { variableOf } from '../../config/table.js';
import { formatAuthority } from '../../target.js';
import { type Manifest, ManifestFailure, type Material } from './manifest.js';
import { ADMIN_PORT, labelsOf, metadataOf, PROXY_PORT } from './proxy-identity.js';

/**
 * How long a pod that ends still accepts, in milliseconds: load balancers of clouds ask for the health of a node every
 * 10 s and believe the third answer.
 */
export const DRAIN_WINDOW_MS = 30_000;

/**
 * Threads that move bytes. Without a CPU limit there would be one for each core of the node, however many that has; one
 * moves 3 to 5 GiB/s, so four are more than any network card.
 */
const RELAY_THREADS = 4;

/** The namespace of the proxy, where no pod may have more rights than the proxy needs. */
export function namespaceOf(material: Material): Manifest {
  const level = 'restricted';
  const object = {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {
      name: material.namespace,
      labels: {
        ...labelsOf(material),
        'pod-security.kubernetes.io/enforce': level,
        'pod-security.kubernetes.io/audit': level,
        'pod-security.kubernetes.io/warn': level,
      },
    },
  } satisfies Namespace;
  return {
    comment: `Where the proxy runs; it admits only pods that need no privilege (Pod Security "${level}").
Check: the namespace is the proxy's own; in another one, its other pods would be refused (--without Namespace).`,
    object,
  };
}

/**
 * The credential of the proxy.
 *
 * @throws ManifestFailure where there is no password
 */
export function secretOf(material: Material): Manifest {
  const { username, password } = credentialOf(material);
  const object = {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: metadataOf(material),
    type: 'Opaque',
    // Not stringData: kubectl apply would call the Secret changed each time.
    data: {
      [variableOf('username')]: base64(username),
      [variableOf('password')]: base64(password),
    },
  } satisfies Secret;
  return {
    comment: `The credential that clients need, in base64. The same stands in the MigrationController, and from there in
source namespaces and their logs: it is for this migration alone.`,
    object,
  };
}

/** The options of the proxy. */
export function configMapOf(material: Material): Manifest {
  const { targetApps, targetApi } = material;
  const allowed = allowRules(material).join(' ');
  const object = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: metadataOf(material),
    data: configuration(material),
  } satisfies ConfigMap;
  const lets =
    allowed === ''
      ? `Nothing is known of the target (--target-apps, --target-api), so there is no SPLICEWAY_ALLOW: whoever has the
credential reaches every host at 443 and 6443, special-purpose addresses excepted.`
      : `Check: SPLICEWAY_ALLOW is all that the credential reaches${
          targetApps === undefined
            ? '; there are no Routes in it, for want of --target-apps'
            : targetApi === undefined
              ? '; the API server is not in it, for want of --target-api'
              : ''
        }.`;
  return {
    comment: `The options of the proxy, as variables; spliceway serve --help explains them, and knows more.
${lets}
[::] takes IPv4 as well; on nodes whose kernel has no IPv6 (ipv6.disable=1), write 0.0.0.0 in its place.`,
    object,
  };
}

/** Who the pods are; they never ask the API server for anything. */
export function serviceAccountOf(material: Material): Manifest {
  const object = {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: metadataOf(material),
    automountServiceAccountToken: false,
  } satisfies ServiceAccount;
  return {
    comment:
      'Who the pods are. They never talk to the API server: no token, no role, no SCC but restricted-v2.',
    object,
  };
}

/** What changes when the options do, so that the pods are replaced: a variable of a pod never changes. */
export function configurationChecksum(material: Material): string {
  return createHash('sha256')
    .update(JSON.stringify(configuration(material)))
    .digest('hex')
    .slice(0, 32);
}

/**
 * The same of the credential. More people may read a Deployment than a Secret, and a password need not be a long one: with
 * scrypt (RFC 7914), guessing it from this takes a million times as long as with a plain digest.
 */
export function credentialChecksum(material: Material): string {
  const { namespace, name } = material;
  const salt = `spliceway ${namespace}/${name}`;
  return scryptSync(JSON.stringify(credentialOf(material)), salt, 16, { N: 2 ** 14, r: 8, p: 1 }).toString(
    'hex',
  );
}

/** How long a pod may take to end, in seconds: the drain, and half a minute to cut, account and log what is left. */
export function gracePeriodSeconds({ drainTimeout }: Pick<Material, 'drainTimeout'>): number {
  return Math.ceil((DRAIN_WINDOW_MS + drainTimeout) / 1000) + 30;
}

function configuration(material: Material): Record<string, string> {
  const allowed = allowRules(material).join(' ');
  return {
    [variableOf('listen')]: `[::]:${PROXY_PORT}`,
    [variableOf('admin')]: `[::]:${ADMIN_PORT}`,
    ...(allowed === '' ? {} : { [variableOf('allow')]: allowed }),
    [variableOf('relay-threads')]: String(RELAY_THREADS),
    [variableOf('drain-window')]: durationText(DRAIN_WINDOW_MS),
    [variableOf('drain-timeout')]: durationText(material.drainTimeout),
    [variableOf('log-format')]: 'json',
  };
}

/** What the migration needs of the target, as far as it is known. Every Route of MTC's begins with `dvm-`. */
function allowRules({ targetApps, targetApi }: Material): readonly string[] {
  return [
    ...(targetApps === undefined ? [] : [`dvm-*.${targetApps}:443`]),
    ...(targetApi === undefined ? [] : [formatAuthority(targetApi.host, targetApi.port)]),
  ];
}

function credentialOf({ username, password }: Material): {
  readonly username: string;
  readonly password: string;
} {
  if (password === undefined) throw new ManifestFailure('the Secret needs a password: give --password');
  return { username, password };
}

/** A duration in milliseconds as an option takes it: 5400000 is `1h30m`. */
function durationText(ms: number): string {
  const units = [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1000],
    ['ms', 1],
  ] as const;
  let rest = ms;
  const parts = units.map(([unit, size]) => {
    const count = Math.floor(rest / size);
    rest -= count * size;
    return count === 0 ? '' : `${count}${unit}`;
  });
  return parts.join('') || '0s';
}

function base64(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64');
}
