import { isIP } from 'node:net';
import {
  isForMigration,
  leadTo,
  migrationPods,
  opensPort,
  type Policy,
  policiesOf,
  selects,
} from './policies.js';
import { mayOpenFor } from './policy-rules.js';
import { isElsewhere, knownProxy, sourceNamespaces } from './proxy.js';
import { groupBy, type Mistake, mistakeIn, type Subject } from './subject.js';
import { entryAt, listAt, textAt, type Value, valueAt } from './value.js';

/** NetworkPolicies under which pods of the source do not reach the proxy. */
export function egressMissesProxy(subject: Subject): readonly Mistake[] {
  const proxy = knownProxy(subject);
  if (proxy === undefined) return [];
  return restrictedNamespaces(subject).flatMap((policies) => {
    const missing = podsOf(subject, policies).flatMap((each) => {
      const rules = rulesOf(each.policies).filter((rule) => opensPort(rule, 'TCP', proxy.port));
      const missed = proxy.addresses.filter((range) => !leadTo(rules, range));
      return missed.length === 0 || isToldAsClosed(subject, each.policies, policies)
        ? []
        : [{ ...each, missed }];
    });
    // Where it is the same for all of them, there is nothing to tell apart.
    const all = new Set(missing.map(({ missed }) => missed.map(({ text }) => text).join())).size === 1;
    const same = all && missing.length === podsOf(subject, policies).length;
    return (same ? missing.slice(0, 1) : missing).flatMap(({ app, policies: [first], missed }) => {
      if (first === undefined) return [];
      const peers = missed
        .map(({ network, prefix }) => `  - ipBlock:\n      cidr: ${network}/${prefix}`)
        .join('\n');
      return [
        mistakeIn(first.object, entryAt(first.object.root, 'spec', 'egress'), {
          problem: `no egress rule lets the pods of a migration ${same ? '' : `(app: ${app}) `}reach the proxy, ${missed.map(({ text }) => text).join(', ')} port ${proxy.port}`,
          fix: isForMigration(first.selector)
            ? `add to egress:\n- to:\n${peers}\n  ports:\n  - protocol: TCP\n    port: ${proxy.port}`
            : OWN_POLICY(first.object.namespace),
        }),
      ];
    });
  });
}

interface Pods {
  readonly app: string;
  /** Those that select them; never none. */
  readonly policies: readonly Policy[];
}

/**
 * The pods of a namespace that policies restrict, by app: what lets the ones out is nothing to the others. Those with and
 * without `owner` are not told apart, since of MTC 1.4 only one of them connects to the proxy.
 */
function podsOf(subject: Subject, policies: readonly Policy[]): readonly Pods[] {
  const kinds = groupBy(migrationPods(subject, 'egress'), ({ labels }) => labels.app ?? '');
  return kinds
    .map((pods) => ({
      app: pods[0]?.labels.app ?? '',
      policies: policies.filter(({ selector }) => pods.some(({ labels }) => selects(selector, labels))),
    }))
    .filter((each) => each.policies.length > 0);
}

/** A policy of their own without a rule is told as that. */
function isToldAsClosed(subject: Subject, own: readonly Policy[], all: readonly Policy[]): boolean {
  return (
    rulesOf(own).length === 0 &&
    own.some(
      (policy) =>
        isForMigration(policy.selector) && !all.some((other) => mayOpenFor(subject, other, policy, 'egress')),
    )
  );
}

/** NetworkPolicies under which pods of the source cannot look up the name of the proxy. */
export function egressWithoutDns(subject: Subject): readonly Mistake[] {
  const proxy = knownProxy(subject);
  if (proxy !== undefined && isIP(proxy.host) !== 0) return [];
  return restrictedNamespaces(subject).flatMap((policies) => {
    const [first] = policies;
    const rules = rulesOf(policies);
    // Where nothing is allowed, this is not what to begin with.
    if (first === undefined || rules.length === 0) return [];
    const opens = (port: number) => rules.filter((rule) => opensPort(rule, 'UDP', port));
    if (opens(5353).length > 0 || opens(53).some((rule) => !isForOpenshiftDns(rule))) return [];
    const only53 = opens(53).length > 0;
    return [
      mistakeIn(first.object, entryAt(first.object.root, 'spec', 'egress'), {
        problem: only53
          ? 'it opens UDP 53 to openshift-dns, whose pods listen on 5353: behind the Service that is the port that counts'
          : 'no egress rule leads to DNS, so these pods cannot look up the name of the proxy',
        fix: !isForMigration(first.selector)
          ? OWN_POLICY(first.object.namespace)
          : `add to egress${proxy === undefined ? ' (not needed for a proxy that is named by its address: say so with --proxy ADDRESS:PORT)' : ''}:\n${DNS}`,
      }),
    ];
  });
}

const OWN_POLICY = (namespace: string) =>
  `leave it as it is, and apply a policy for these pods beside it: spliceway manifest source --proxy HOST:PORT --source-namespace ${namespace || 'NAMESPACE'}`;

const DNS = `- to:
  - namespaceSelector:
      matchLabels:
        kubernetes.io/metadata.name: openshift-dns
  ports:
  - {protocol: UDP, port: 5353}
  - {protocol: TCP, port: 5353}`;

/** Policies on the pods of a migration, by namespaces: of those that are sources, as far as one can tell. */
function restrictedNamespaces(subject: Subject): readonly (readonly Policy[])[] {
  const policies = policiesOf(subject, 'egress');
  const meant = policies
    .filter(({ selector }) => isForMigration(selector))
    .map(({ object }) => object.namespace);
  const sources = sourceNamespaces(subject, meant);
  const pods = migrationPods(subject, 'egress');
  return (
    groupBy(
      policies.filter(({ selector }) => pods.some(({ labels }) => selects(selector, labels))),
      ({ object }) => object.namespace,
    )
      .filter(([first]) => {
        const namespace = first?.object.namespace ?? '';
        return meant.includes(namespace) || (sources?.has(namespace) && !isElsewhere(subject, namespace));
      })
      // What was written for these pods comes first, since that is what a fix goes into.
      .map((group) => [...group].sort((one, other) => rank(one) - rank(other)))
  );
}

function rank({ selector }: Policy): number {
  return isForMigration(selector) ? 0 : 1;
}

function rulesOf(policies: readonly Policy[]): readonly Value[] {
  return policies.flatMap(({ rules }) => rules?.list ?? []);
}

function isForOpenshiftDns(rule: Value): boolean {
  const peers = listAt(rule, 'to');
  const named = (peer: Value) =>
    textAt(valueAt(peer, 'namespaceSelector'), 'matchLabels', 'kubernetes.io/metadata.name') ===
    'openshift-dns';
  return peers.length > 0 && peers.every(named);
}
