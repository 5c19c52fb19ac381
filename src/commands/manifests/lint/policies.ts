import type { AddressRange } from '../../../access/addresses.js';
import { MTC_RELEASES } from '../../../config/manifest-options.js';
import { TOOLKITS } from '../../mtc/toolkits.js';
import { readCidr } from './firewalls.js';
import { covers, type Span, spanOf, without } from './ranges.js';
import { type KubeObject, ofKind, type Subject } from './subject.js';
import { isTemplate, listAt, textAt, type Value, valueAt } from './value.js';

/** A NetworkPolicy as far as one direction of it goes. */
export interface Policy {
  readonly object: KubeObject;
  readonly selector: Value | undefined;
  /** `spec.ingress` or `spec.egress`; absent: nothing is allowed. */
  readonly rules: Value | undefined;
  /** Whether nobody wrote this direction: without policyTypes a policy is about ingress as well. */
  readonly byDefault: boolean;
}

export type Direction = 'ingress' | 'egress';

/** A pod that MTC makes, with the labels that tell it from others. */
export interface MigrationPod {
  readonly labels: Readonly<Record<string, string>>;
  /** As in `does not select …`. */
  readonly description: string;
}

/** The policies that restrict this direction, of every namespace. Those whose `policyTypes` do not say so are left out. */
export function policiesOf(subject: Subject, direction: Direction): readonly Policy[] {
  return networkPolicies(subject)
    .filter((object) => typesOf(object).includes(direction))
    .map((object) => ({
      object,
      selector: valueAt(object.root, 'spec', 'podSelector'),
      rules: valueAt(object.root, 'spec', direction),
      byDefault: !writtenTypesOf(object).includes(direction),
    }));
}

/** Those of Kubernetes itself: other APIs have a kind of this name as well. */
export function networkPolicies(subject: Pick<Subject, 'objects'>): readonly KubeObject[] {
  return ofKind(subject, 'NetworkPolicy').filter(({ apiVersion }) =>
    /^(?:|v1|extensions\/.*|networking(?:\.k8s\.io)?\/.*)$/.test(apiVersion),
  );
}

/** `policyTypes`, or what Kubernetes takes for them where there are none: ingress always, egress where there are rules. */
export function typesOf(object: KubeObject): readonly Direction[] {
  const written = writtenTypesOf(object);
  return hasTypes(object) || written.includes('ingress') ? written : ['ingress', ...written];
}

/** The directions that a policy was written for. */
export function writtenTypesOf(object: KubeObject): readonly Direction[] {
  const spec = valueAt(object.root, 'spec');
  if (hasTypes(object)) {
    const named = listAt(spec, 'policyTypes').map(({ text }) => text?.toLowerCase());
    return (['ingress', 'egress'] as const).filter((direction) => named.includes(direction));
  }
  const egress = valueAt(spec, 'egress');
  if ((egress?.list ?? []).length === 0 && egress?.map === undefined) return ['ingress'];
  return valueAt(spec, 'ingress') === undefined ? ['egress'] : ['ingress', 'egress'];
}

/** An empty list counts as none. */
function hasTypes({ root }: KubeObject): boolean {
  return listAt(root, 'spec', 'policyTypes').length > 0;
}

/** Whether somebody wrote the selector for the pods of a migration, right or wrong. */
export function isForMigration(selector: Value | undefined): boolean {
  const values = [
    ...[...(valueAt(selector, 'matchLabels')?.map ?? [])].map(
      ([key, { value }]) => [key, value.text ?? ''] as const,
    ),
    ...listAt(selector, 'matchExpressions').flatMap((expression) =>
      textAt(expression, 'operator') === 'In'
        ? listAt(expression, 'values').map(
            ({ text }) => [textAt(expression, 'key') ?? '', text ?? ''] as const,
          )
        : [],
    ),
  ];
  return values.some(
    ([key, value]) => /^(?:app|owner)$/.test(key) && /direct-?volume-?migration|rsync-transfer/i.test(value),
  );
}

/**
 * Whether a selector selects a pod of the migration with these labels. What else MTC labels it with is not known here, so
 * that an expression over that counts as one that fits; and so does one over any label in a selector that was written for
 * these pods. Labels of applications (`tier`, `app.kubernetes.io/name`) they do not have.
 */
export function selects(selector: Value | undefined, labels: Readonly<Record<string, string>>): boolean {
  const own = isForMigration(selector);
  const known = (key: string) =>
    key === 'app' || key === 'owner' || (!own && key !== 'purpose' && !key.includes('migration'));
  const equal = [...(valueAt(selector, 'matchLabels')?.map ?? [])].every(
    ([key, { value }]) => !known(key) || value.text === labels[key] || isTemplate(value.text ?? ''),
  );
  return (
    equal &&
    listAt(selector, 'matchExpressions').every((expression) => {
      const key = textAt(expression, 'key') ?? '';
      if (!known(key)) return true;
      const values = listAt(expression, 'values').map(({ text }) => text);
      const label = labels[key];
      switch (textAt(expression, 'operator')) {
        case 'In':
          return label !== undefined && values.includes(label);
        case 'NotIn':
          return label === undefined || !values.includes(label);
        case 'Exists':
          return label !== undefined;
        case 'DoesNotExist':
          return label === undefined;
        default:
          return true;
      }
    })
  );
}

/** The pods that the releases in question put into source (egress) or destination (ingress) namespaces. */
export function migrationPods({ mtc }: Pick<Subject, 'mtc'>, direction: Direction): readonly MigrationPod[] {
  const releases = mtc === undefined ? MTC_RELEASES : [mtc];
  const pods = releases.flatMap((release) =>
    TOOLKITS[release].apps.map((app) => {
      // Source pods of the first generations; their destinations have both labels.
      const bare = direction === 'egress' && TOOLKITS[release].stunnelPort === 2222;
      return { release, app, bare };
    }),
  );
  const kinds = new Map<
    string,
    { labels: Record<string, string>; releases: string[]; app: string; bare: boolean }
  >();
  for (const { release, app, bare } of pods) {
    const key = `${app} ${bare}`;
    const labels: Record<string, string> = bare ? { app } : { app, owner: 'directvolumemigration' };
    const kind = kinds.get(key) ?? { labels, releases: [], app, bare };
    kinds.set(key, { ...kind, releases: [...kind.releases, release] });
  }
  return [...kinds.values()].map(({ labels, releases, app, bare }) => {
    const pods = app.endsWith('-block')
      ? `pods for block volumes (app: ${app})`
      : `pods ${bare ? 'without a label owner' : `(app: ${app})`}`;
    return {
      labels,
      description: `the ${direction === 'egress' ? 'source ' : ''}${pods} of MTC ${list(releases)}`,
    };
  });
}

/** `1.4, 1.5 and 1.6`. */
export function list(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}

/** Whether a rule's ports hold this one. A port by name may be any. */
export function opensPort(rule: Value, protocol: 'TCP' | 'UDP', port: number): boolean {
  const ports = listAt(rule, 'ports');
  return (
    ports.length === 0 ||
    ports.some((each) => {
      if ((textAt(each, 'protocol') ?? 'TCP') !== protocol) return false;
      const text = textAt(each, 'port');
      if (text === undefined || !/^\d+$/.test(text)) return true;
      return Number(text) <= port && port <= Number(textAt(each, 'endPort') ?? text);
    })
  );
}

/**
 * Whether rules lead to every one of these addresses, together and as far as one can tell: pods behind a selector may
 * have them.
 */
export function leadTo(rules: readonly Value[], range: AddressRange): boolean {
  let open: readonly Span[] = [spanOf(range)];
  for (const rule of rules) {
    const peers = listAt(rule, 'to');
    if (peers.length === 0) return true;
    for (const peer of peers) {
      const block = valueAt(peer, 'ipBlock');
      if (block === undefined) return true;
      const cidr = textAt(block, 'cidr') ?? '';
      const outer = readCidr(cidr);
      if (outer === undefined && (isTemplate(cidr) || /^<.*>$/.test(cidr))) return true;
      const excepted = listAt(block, 'except').some(({ text = '' }) => {
        const except = readCidr(text);
        return except !== undefined && covers(spanOf(except), spanOf(range));
      });
      if (outer !== undefined && !excepted) open = without(open, spanOf(outer));
    }
  }
  return open.length === 0;
}

/** Whether a rule is for MTC 1.4, whose source has stunnel in a pod of its own that the others connect to. */
export function isAmongMigrationPods(rule: Value, { mtc }: Pick<Subject, 'mtc'>): boolean {
  const peers = listAt(rule, 'from');
  return (
    (mtc === undefined || mtc === '1.4') &&
    peers.length > 0 &&
    peers.every(
      (peer) =>
        valueAt(peer, 'namespaceSelector') === undefined && isForMigration(valueAt(peer, 'podSelector')),
    )
  );
}

/** `- {}`, in any spelling. */
export function allowsEverything(rule: Value): boolean {
  const restricts = ['to', 'from', 'ports'].some(
    (key) => listAt(rule, key).length > 0 || valueAt(rule, key)?.map !== undefined,
  );
  return !restricts && (rule.map !== undefined || rule.text === undefined);
}
