import leven from 'leven';
import { isForMigration, networkPolicies, writtenTypesOf } from './policies.js';
import { isRoutePlaceholder } from './squid-rules.js';
import { groupBy, type KubeObject, type Mistake, mistakeIn, type Subject } from './subject.js';
import { entryAt, isTemplate, sameValue, textAt, type Value, valueAt } from './value.js';

/** The kinds that there are rules for, with the API that has them. */
export const KINDS = {
  NetworkPolicy: 'networking.k8s.io/v1',
  EgressFirewall: 'k8s.ovn.org/v1',
  EgressNetworkPolicy: 'network.openshift.io/v1',
  MigrationController: 'migration.openshift.io/v1alpha1',
} as const;

/** Kinds beside those that are looked at, though nothing can be wrong with them here. */
const READ_KINDS = ['MigPlan'];

/** Other kinds of the same APIs, which are no misspelt ones. */
const NEIGHBOURS =
  /^(?:Mig\w+|Direct\w+|Ingress\w*|IPAddress\w*|ServiceCIDR|NetNamespace|HostSubnet|ClusterNetwork|EgressIP|EgressQoS|EgressService|\w+List)$/;

/** The kind of `KINDS` that an object is of, or that its kind was to be. */
export function kindOf({ kind, apiVersion }: KubeObject): keyof typeof KINDS | undefined {
  const kinds = Object.keys(KINDS) as (keyof typeof KINDS)[]; // Its own keys.
  const group = apiVersion.split('/')[0];
  return (
    kinds.find((each) => each === kind) ??
    kinds.find(
      (each) =>
        KINDS[each].split('/')[0] === group &&
        !isNeighbour(kind) &&
        leven(each.toLowerCase(), kind.toLowerCase()) <= 3,
    )
  );
}

function isNeighbour(kind: string): boolean {
  return NEIGHBOURS.test(kind) && leven(kind, 'MigrationController') > 3;
}

/** Whether a rule looks at an object. */
export function isKnown(object: KubeObject): boolean {
  const kind = kindOf(object);
  if (kind === 'NetworkPolicy' && object.kind === kind)
    return networkPolicies({ objects: [object] }).length > 0;
  return kind !== undefined || READ_KINDS.includes(object.kind);
}

/** Objects of which one overwrites the other when both are applied. */
export function duplicateName(subject: Subject): readonly Mistake[] {
  return groupBy(
    subject.objects.filter(isNamed),
    ({ kind, namespace, name }) => `${kind} ${namespace} ${name}`,
  ).flatMap(([first, ...others]) =>
    others.flatMap((object) => {
      if (first === undefined || sameValue(valueAt(first.root, 'spec'), valueAt(object.root, 'spec')))
        return [];
      // Both exist, so they are of two clusters.
      const [one, another] = [first, object].map(({ root }) => textAt(root, 'metadata', 'uid'));
      if (one !== undefined && another !== undefined && one !== another) return [];
      const where = `${first.file === object.file ? '' : `${first.file} `}line ${first.line}`;
      return [
        mistakeIn(object, entryAt(object.root, 'metadata', 'name'), {
          problem: `the ${object.kind} in ${where} has the same name and namespace: applied after it, this one overwrites it`,
          fix: adviceForTwo(object),
        }),
      ];
    }),
  );
}

/** Of a policy there may be many; of the other kinds one, whatever its name. */
function adviceForTwo(object: KubeObject): string {
  const clusters = "(or check each cluster's files in a call of their own)";
  switch (object.kind) {
    case 'EgressFirewall':
    case 'EgressNetworkPolicy':
      return 'there can be one in a namespace: put the rules of both into one, Allow before Deny';
    case 'MigrationController':
      return `there is one in a cluster: put the settings of both into one ${clusters}`;
    default:
      return `give this one another name, such as ${suggestName(object)} ${clusters}`;
  }
}

/** More than one firewall in a namespace, whatever they are called. */
export function secondFirewall(subject: Subject): readonly Mistake[] {
  const firewalls = subject.objects.filter(
    ({ kind }) => kind === 'EgressFirewall' || kind === 'EgressNetworkPolicy',
  );
  return groupBy(firewalls, ({ kind, namespace }) => `${kind} ${namespace}`).flatMap(([first, ...others]) =>
    others
      .filter(({ name }) => name !== first?.name)
      .map((object) =>
        mistakeIn(object, undefined, {
          problem: `there can be one ${object.kind} in a namespace, and ${first?.label} is there already${object.kind === 'EgressNetworkPolicy' ? ': OpenShift SDN then drops everything that leaves the cluster' : ''}`,
          fix: 'put the rules of both into one, Allow before Deny',
        }),
      ),
  );
}

/** A policy about one direction with a name that says the other. */
export function nameSaysOtherwise(subject: Subject): readonly Mistake[] {
  return networkPolicies(subject).flatMap((object) => {
    const types = writtenTypesOf(object);
    const [type] = types;
    if (
      type === undefined ||
      types.length > 1 ||
      !isForMigration(valueAt(object.root, 'spec', 'podSelector'))
    )
      return [];
    const other = type === 'ingress' ? 'egress' : 'ingress';
    const says = (word: string) => new RegExp(`(?:^|[-.])${word}(?:[-.]|$)`).test(object.name);
    if (!says(other) || says(type)) return [];
    return [
      mistakeIn(object, entryAt(object.root, 'metadata', 'name'), {
        problem: `it is about ${type}, and its name says ${other}: whoever applies the policy that the name belongs to overwrites this one`,
        fix: `rename it, to ${suggestName(object)} for example`,
      }),
    ];
  });
}

/** An API that does not have this kind. */
export function wrongApiVersion(subject: Subject): readonly Mistake[] {
  return subject.objects.flatMap((object) => {
    const kind = kindOf(object);
    if (kind === undefined || isTemplate(object.apiVersion)) return [];
    // OpenShift 3 has it under its old name as well.
    if (object.apiVersion === KINDS[kind] || (kind === 'EgressNetworkPolicy' && object.apiVersion === 'v1'))
      return [];
    return [
      mistakeIn(object, entryAt(object.root, 'apiVersion'), {
        problem: `${object.apiVersion === '' ? 'apiVersion is missing' : `no ${kind} is of this apiVersion`}`,
        fix: `write apiVersion: ${KINDS[kind]}`,
      }),
    ];
  });
}

/** A kind that is almost one. */
export function wrongKind(subject: Subject): readonly Mistake[] {
  return subject.objects.flatMap((object) => {
    const kind = kindOf(object);
    if (kind === undefined || kind === object.kind) return [];
    return [
      mistakeIn(object, undefined, {
        problem: `there is no such kind in ${object.apiVersion}`,
        fix: `write kind: ${kind}`,
      }),
    ];
  });
}

/** What an example leaves to its reader, and the reader left as well. */
export function placeholderLeft(subject: Subject): readonly Mistake[] {
  const inObjects = subject.objects
    .filter((object) => kindOf(object) !== undefined)
    .flatMap((object) =>
      [...scalarsOf(object.root)].flatMap((value) => {
        const text = value.text ?? '';
        // Told by another rule, with what belongs there.
        if (!isPlaceholder(text) || /^<[^<>]*cluster[^<>]*>$/i.test(text)) return [];
        return [
          mistakeIn(object, value, {
            problem: `${object.kind === 'MigrationController' ? 'a placeholder' : text} was never filled in`,
            fix: 'write what it stands for, or leave its key out',
          }),
        ];
      }),
    );
  const inSquid = subject.squids.flatMap(({ file, directives }) =>
    directives.flatMap(({ line, name, words }) =>
      words
        .flatMap((word) => /<[A-Za-z][\w -]*>/.exec(word)?.[0] ?? [])
        .filter((text) => !isRoutePlaceholder(text))
        .map((text) => ({
          file,
          line,
          object: `squid.conf ${name}`,
          problem: `${SECRETIVE.test(name) ? 'a placeholder' : text} was never filled in`,
          fix: 'write what it stands for',
        })),
    ),
  );
  return [...inObjects, ...inSquid];
}

/** Directives that passwords are in. */
const SECRETIVE = /^(?:cache_peer|cachemgr_passwd|auth_param)$/;

function isPlaceholder(text: string): boolean {
  return /^(?:<[A-Za-z][\w. -]*>|\.{3}|…)$/.test(text);
}

function* scalarsOf(root: Value): Generator<Value> {
  const seen = new Set<Value>();
  const waiting = [root];
  for (let value = waiting.pop(); value !== undefined; value = waiting.pop()) {
    if (seen.has(value)) continue;
    seen.add(value);
    if (value.text !== undefined) yield value;
    waiting.push(...(value.list ?? []));
    for (const [key, entry] of value.map ?? []) if (key !== 'annotations') waiting.push(entry.value);
  }
}

function isNamed({ name, kind }: KubeObject): boolean {
  return name !== '' && kind !== 'MigPlan';
}

/** A name that says the direction that the policy is about. */
function suggestName(object: KubeObject): string {
  const types = object.kind === 'NetworkPolicy' ? writtenTypesOf(object) : [];
  const [type] = types;
  if (type === undefined || types.length > 1) return `${object.name}-2`;
  const other = type === 'ingress' ? 'egress' : 'ingress';
  const [from, to] = type === 'ingress' ? ['-from-', '-to-'] : ['-to-', '-from-'];
  const renamed = object.name.replace(other, type).replace(from, to);
  return renamed === object.name ? `${object.name}-${type}` : renamed;
}
