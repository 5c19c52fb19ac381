import { TOOLKITS } from '../../mtc/toolkits.js';
import {
  isAmongMigrationPods,
  isForMigration,
  list,
  migrationPods,
  opensPort,
  policiesOf,
  selects,
} from './policies.js';
import { groupBy, type KubeObject, type Mistake, mistakeIn, type Subject } from './subject.js';
import { entryAt, listAt, textAt, type Value, valueAt } from './value.js';

/** Ingress policies for the pods of a migration that open other ports than stunnel's. */
export function ingressWrongPort(subject: Subject): readonly Mistake[] {
  return ingressOf(subject).flatMap(({ object, rules, ports }) => {
    if (rules.some((rule) => opensOne(rule, ports))) return [];
    const at = rules.map((rule) => entryAt(rule, 'ports')).find((entry) => entry !== undefined);
    const [port = 6443] = [...ports].reverse();
    return [
      mistakeIn(object, at, {
        problem: `it does not open TCP ${list(ports.map(String)).replace(' and ', ' or ')}, where the stunnel of the destination listens behind the Route (443 is the router's)`,
        fix: `write${ports.length > 1 ? ' (2222 for MTC 1.4 and 1.5)' : ''}:\nports:\n- protocol: TCP\n  port: ${port}`,
      }),
    ];
  });
}

/** Ingress policies for the pods of a migration that do not let the router in. */
export function ingressWrongSource(subject: Subject): readonly Mistake[] {
  const own = ingressOf(subject).flatMap(({ object, rules, ports }) => {
    const opening = rules.filter((rule) => opensOne(rule, ports));
    const looked = opening.length > 0 ? opening : rules;
    if (looked.some((rule) => letsRouterIn(rule) || isAmongMigrationPods(rule, subject))) return [];
    const at = looked.map((rule) => entryAt(rule, 'from')).find((entry) => entry !== undefined);
    const peers = looked.flatMap((rule) => listAt(rule, 'from'));
    const local = peers.every((peer) => valueAt(peer, 'namespaceSelector') === undefined);
    return [
      mistakeIn(object, at, {
        problem: local
          ? 'it lets in pods of the same namespace alone (there is no namespaceSelector), and the router is in another one'
          : 'its namespaceSelector fits no label that the namespace of the router has',
        fix: `write (on OpenShift before 4.10 the label is network.openshift.io/policy-group: ingress):\nfrom:\n- namespaceSelector:\n    matchLabels:\n      policy-group.network.openshift.io/ingress: ""`,
      }),
    ];
  });
  return [...own, ...ingressClosed(subject)];
}

/** Policies of others in namespaces of the destination that keep the router from its pods, beside which there is none of their own. */
function ingressClosed(subject: Subject): readonly Mistake[] {
  const { sourceNamespaces, targetNamespaces } = subject;
  // In a namespace of the same name at the source nobody connects to them.
  const targets = targetNamespaces.filter((name) => !sourceNamespaces.includes(name));
  const there = policiesOf(subject, 'ingress').filter(({ object }) => targets.includes(object.namespace));
  const kinds = groupBy(migrationPods(subject, 'ingress'), ({ labels }) => labels.app ?? '');
  return groupBy(there, ({ object }) => object.namespace).flatMap((policies) => {
    // What is wrong with those is told of them.
    if (policies.some(({ selector }) => isForMigration(selector))) return [];
    const closed = kinds.flatMap((pods) => {
      const own = policies.filter(({ selector }) => pods.some(({ labels }) => selects(selector, labels)));
      const rules = own.flatMap((policy) => policy.rules?.list ?? []);
      return rules.some((rule) => opensOne(rule, portsOf(subject)) && letsRouterIn(rule))
        ? []
        : own.slice(0, 1);
    });
    return closed.slice(0, 1).map(({ object }) =>
      mistakeIn(object, entryAt(object.root, 'spec', 'ingress'), {
        problem: 'no ingress rule of this namespace lets the router reach the pods of a migration',
        fix: `leave it as it is, and apply a policy for these pods beside it: spliceway manifest target --target-namespace ${object.namespace}`,
      }),
    );
  });
}

interface Ingress {
  /** The first policy of the namespace for these pods, which a fix goes into. */
  readonly object: KubeObject;
  /** Of all of them: what one allows is allowed. */
  readonly rules: readonly Value[];
  /** Where stunnel may listen. */
  readonly ports: readonly number[];
}

function ingressOf(subject: Subject): readonly Ingress[] {
  const ports = portsOf(subject);
  const meant = policiesOf(subject, 'ingress').filter(({ selector }) => isForMigration(selector));
  return groupBy(meant, ({ object }) => object.namespace).flatMap((policies) => {
    const [first] = policies;
    const rules = policies.flatMap((policy) => policy.rules?.list ?? []);
    return first === undefined || rules.length === 0 ? [] : [{ object: first.object, rules, ports }];
  });
}

function portsOf({ mtc }: Subject): readonly number[] {
  const releases = mtc === undefined ? Object.values(TOOLKITS) : [TOOLKITS[mtc]];
  return [...new Set(releases.map(({ stunnelPort }) => stunnelPort))];
}

function opensOne(rule: Value, ports: readonly number[]): boolean {
  return ports.some((port) => opensPort(rule, 'TCP', port));
}

/** Labels that openshift-ingress has, or the namespace whose pods are those of the node (router on the host network). */
const ROUTER_LABELS: readonly (readonly [key: string, value: string])[] = [
  ['policy-group.network.openshift.io/ingress', ''],
  ['network.openshift.io/policy-group', 'ingress'],
  ['policy-group.network.openshift.io/host-network', ''],
  ['kubernetes.io/metadata.name', 'openshift-ingress'],
  ['kubernetes.io/metadata.name', 'openshift-host-network'],
  ['name', 'openshift-ingress'],
];

function letsRouterIn(rule: Value): boolean {
  const peers = listAt(rule, 'from');
  return (
    peers.length === 0 ||
    peers.some((peer) => {
      // Where the router is on the host network, its address is the node's.
      if (valueAt(peer, 'ipBlock') !== undefined) return true;
      const selector = valueAt(peer, 'namespaceSelector');
      if (selector === undefined) return false;
      const labels = [...(valueAt(selector, 'matchLabels')?.map ?? [])];
      return (
        labels.every(([key, { value }]) =>
          ROUTER_LABELS.some(([k, v]) => k === key && v === (value.text ?? '')),
        ) && listAt(selector, 'matchExpressions').every(fitsRouter)
      );
    })
  );
}

function fitsRouter(expression: Value): boolean {
  const key = textAt(expression, 'key');
  const values = listAt(expression, 'values').map(({ text }) => text);
  const rows = ROUTER_LABELS.filter(([name]) => name === key);
  switch (textAt(expression, 'operator')) {
    case 'In':
      return rows.some(([, value]) => values.includes(value));
    case 'Exists':
      return rows.length > 0;
    default:
      return true;
  }
}
