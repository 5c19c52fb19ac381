import { isIP } from 'node:net';
import { type AddressRange, parseRange } from '../../../access/addresses.js';
import { readProxyUrl } from '../../mtc/proxy-url.js';
import { readSettings } from './settings.js';
import { ofKind, type Subject } from './subject.js';

/** The proxy, as the options or a MigrationController of the same input say it. */
export interface KnownProxy {
  readonly host: string;
  readonly port: number;
  /** Empty where it is a name and nobody said its addresses. */
  readonly addresses: readonly AddressRange[];
}

/** Where pods of the source reach the proxy; undefined where nobody says it. */
export function knownProxy(subject: Subject): KnownProxy | undefined {
  const named = subject.proxy ?? fromController(subject);
  if (named === undefined) return undefined;
  const own = isIP(named.host) === 0 ? undefined : parseRange(named.host);
  const given = subject.proxyAddresses;
  return { ...named, addresses: given.length === 0 && own !== undefined ? [own] : given };
}

function fromController(subject: Subject): { readonly host: string; readonly port: number } | undefined {
  for (const object of ofKind(subject, 'MigrationController')) {
    for (const { value } of readSettings(object).set) {
      const read = readProxyUrl(value.text ?? '');
      if (!('problem' in read)) return { host: read.host, port: read.port };
    }
  }
  return undefined;
}

/**
 * The namespaces whose pods use the proxy, as far as one can tell from options, MigPlans and policies; undefined where
 * nothing tells, and any may be one.
 */
export function sourceNamespaces(
  subject: Subject,
  withPolicies: readonly string[],
): ReadonlySet<string> | undefined {
  const planned = ofKind(subject, 'MigPlan').flatMap(({ root }) =>
    // SOURCE:TARGET where the target is called otherwise.
    (root.map?.get('spec')?.value.map?.get('namespaces')?.value.list ?? []).flatMap(
      ({ text }) => text?.split(':')[0] ?? [],
    ),
  );
  const known = new Set([
    ...subject.sourceNamespaces,
    ...planned,
    ...withPolicies.filter((name) => name !== ''),
  ]);
  return known.size === 0 ? undefined : known;
}

/** Whether nothing in the namespace is a source: the proxy's own one, and those of the cluster itself. */
export function isElsewhere(subject: Subject, namespace: string): boolean {
  return namespace === subject.proxyNamespace || /^(?:openshift|kube)-/.test(namespace);
}
