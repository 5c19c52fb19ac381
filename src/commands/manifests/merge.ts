import { Document, isMap, isNode, isScalar, isSeq, type Node, type YAMLMap, type YAMLSeq } from 'yaml';
import { overlap, type SeenRule, seenRule } from './egress-rules.js';
import type { EgressFirewall, EgressRule, FirewallKind } from './firewall-kinds.js';
import { FIREWALL_KINDS } from './firewall-kinds.js';
import { type ExistingFile, ManifestFailure, type Material } from './manifest.js';
import { firstComment, readYamlObjects, type YamlObject } from './yaml-objects.js';

/**
 * The egress firewalls given with `--merge` or `--unmerge`, by their namespaces. Those of namespaces that are neither
 * migrated nor the proxy's are left alone, for `kubectl get -A` prints them all, and so are NetworkPolicies, which our own
 * output has beside them.
 *
 * Throws `ManifestFailure` for whatever else is not the kind that `--network` has, and cannot be merged.
 */
export function findFirewalls(material: Material): ReadonlyMap<string, YamlObject> {
  const kind = FIREWALL_KINDS[material.network];
  const ours = new Set([...material.sourceNamespace, material.namespace]);
  const found = new Map<string, YamlObject>();
  for (const file of material.existing) {
    for (const { object, namespace } of firewallsIn(file, kind)) {
      if (!ours.has(namespace)) continue;
      const other = found.get(namespace);
      if (other !== undefined)
        throw new ManifestFailure(
          `${object.where}: a second ${kind.kind} of the namespace ${namespace}, the first is in ${other.where}: there can be one, so put their rules together`,
        );
      found.set(namespace, object);
    }
  }
  return found;
}

/** What to say of files that have nothing for any of these namespaces, a line each. Throws as {@link findFirewalls}. */
export function describeNeedless(material: Material, namespaces: readonly string[]): readonly string[] {
  const kind = FIREWALL_KINDS[material.network];
  const what = material.unmerge.length > 0 ? 'take out' : 'merge';
  return material.existing
    .filter((file) => !firewallsIn(file, kind).some(({ namespace }) => namespaces.includes(namespace)))
    .map(({ path }) => `${path} has no ${kind.kind} of ${namespaces.join(', ')}: nothing to ${what} there`);
}

/** A firewall of somebody's with its rules changed. */
export interface ChangedFirewall {
  readonly document: Document;
  readonly object: EgressFirewall;
}

/**
 * An existing firewall with these rules in it, each before the first Deny that may shadow it (at the end where there is
 * none), and not at all where an earlier Allow does what it does. Everything else stays: other rules, their order,
 * comments. What the API server added goes, for it does not take that back.
 *
 * `generated` are comments of ours, of which none is kept: the object is printed with a new one. Throws `ManifestFailure`
 * where it is no firewall, or would have too many rules.
 */
export function mergeRules(
  existing: YamlObject,
  options: {
    readonly rules: readonly EgressRule[];
    readonly generated: readonly string[];
    readonly kind: FirewallKind;
  },
): ChangedFirewall {
  const { where } = existing;
  const { rules, generated, kind } = options;
  const { document, egress } = openFirewall(existing, generated);
  for (const rule of rules) insertRule(egress, { rule, document, where });
  if (egress.items.length > kind.maxRules)
    throw new ManifestFailure(
      `${where}: ${egress.items.length} rules, and ${kind.kind} takes ${kind.maxRules}: put some into wider ranges`,
    );
  // All that its type says has been looked at here and in namespaceOf.
  return { document, object: document.toJS() as EgressFirewall };
}

/**
 * An existing firewall without these rules: {@link mergeRules} put them there, or they do the very same. Everything else
 * stays, as there. Throws `ManifestFailure` where it is no firewall.
 */
export function unmergeRules(
  existing: YamlObject,
  { rules, generated }: { readonly rules: readonly EgressRule[]; readonly generated: readonly string[] },
): ChangedFirewall {
  const { document, egress } = openFirewall(existing, generated);
  const seen = seenRules(egress, { document, where: existing.where });
  egress.items = egress.items.filter((_, index) => {
    const each = seen[index];
    return each === undefined || !rules.some((rule) => isSame(each, { ...rule, to: { ...rule.to } }));
  });
  // Above the first rule it belongs to the list.
  const above = (egress.commentBefore ?? '').split('\n').filter((line) => line !== RULE_COMMENT);
  egress.commentBefore = above.join('\n') || null;
  return { document, object: document.toJS() as EgressFirewall };
}

function openFirewall(
  existing: YamlObject,
  generated: readonly string[],
): { readonly document: Document<Node>; readonly egress: YAMLSeq } {
  const { where, node } = existing;
  removeServerFields(node);
  keepOwnComment(existing, generated);
  const document = new Document<Node>(node);
  if (existing.comment !== undefined) document.comment = existing.comment;
  const egress = node.getIn(['spec', 'egress']);
  if (!isSeq(egress)) throw new ManifestFailure(`${where}: spec.egress is not a list of rules`);
  return { document, egress };
}

function firewallsIn(
  file: ExistingFile,
  kind: FirewallKind,
): readonly { readonly object: YamlObject; readonly namespace: string }[] {
  return readYamlObjects(file)
    .filter(({ node }) => node.get('kind') !== 'NetworkPolicy')
    .map((object) => ({ object, namespace: namespaceOf(object, kind) }));
}

function namespaceOf({ where, node }: YamlObject, kind: FirewallKind): string {
  const name = node.getIn(['metadata', 'name']);
  const namespace = node.getIn(['metadata', 'namespace']);
  const [found, apiVersion] = [node.get('kind'), node.get('apiVersion')].map(String);
  const other = Object.entries(FIREWALL_KINDS).find(([, row]) => row.kind === found);
  if (other === undefined)
    throw new ManifestFailure(
      `${where}: ${node.has('kind') ? found : 'an object without kind'} is neither EgressFirewall nor EgressNetworkPolicy, which --merge and --unmerge are for: take it out`,
    );
  if (found !== kind.kind)
    throw new ManifestFailure(
      `${where}: ${found} is of ${other[1].plugin}, and this is for ${kind.plugin}: add --network ${other[0]}`,
    );
  if (apiVersion !== kind.apiVersion)
    throw new ManifestFailure(
      `${where}: apiVersion of ${found} must be ${kind.apiVersion}, not ${apiVersion}`,
    );
  if (typeof name !== 'string' || typeof namespace !== 'string')
    throw new ManifestFailure(`${where}: ${found} needs a name and a namespace in its metadata: add them`);
  if (kind.kind === 'EgressFirewall' && name !== kind.name)
    throw new ManifestFailure(
      `${where}: OVN-Kubernetes takes no EgressFirewall of another name than default: rename ${name}`,
    );
  return namespace;
}

function seenRules(
  egress: YAMLSeq,
  { document, where }: { readonly document: Document<Node>; readonly where: string },
): readonly SeenRule[] {
  return egress.items.map((item, index) => {
    const read = isNode(item) ? seenRule(item.toJS(document)) : undefined;
    if (read === undefined)
      throw new ManifestFailure(
        `${where}: rule ${index + 1} of spec.egress has no type Allow or Deny, or no to`,
      );
    return read;
  });
}

/** Whether it is an Allow that lets through what the other one does, no more and no less. */
function isSame(seen: SeenRule, wanted: SeenRule): boolean {
  return seen.type === 'Allow' && overlap(seen, wanted) === 'covers' && overlap(wanted, seen) === 'covers';
}

function insertRule(
  egress: YAMLSeq,
  options: { readonly rule: EgressRule; readonly document: Document<Node>; readonly where: string },
): void {
  const { rule, document } = options;
  const seen = seenRules(egress, options);
  const wanted = { ...rule, to: { ...rule.to } };
  const shadow = seen.findIndex((each) => each.type === 'Deny' && overlap(each, wanted) !== 'none');
  const until = shadow === -1 ? seen.length : shadow;
  const before = seen.slice(0, until);
  if (before.some((each) => each.type === 'Allow' && overlap(each, wanted) === 'covers')) return;
  const late = seen.findIndex((each) => isSame(each, wanted));
  const [moved] = late === -1 ? [] : egress.items.splice(late, 1);
  const inserted = moved ?? document.createNode(rule);
  if (moved === undefined && !egress.flow && isNode(inserted)) inserted.commentBefore = RULE_COMMENT;
  // What stands above the first rule belongs to the list as it was read, and would get above ours.
  const [first] = egress.items;
  if (until === 0 && isNode(first) && egress.commentBefore) {
    first.commentBefore = [egress.commentBefore, first.commentBefore].filter(Boolean).join('\n');
    egress.commentBefore = null;
  }
  if (egress.items.length === 0) egress.flow = false;
  egress.items.splice(until, 0, inserted);
}

const RULE_COMMENT = ' For the migration through the proxy.';

const SERVER_FIELDS = [
  ['status'],
  ['metadata', 'resourceVersion'],
  ['metadata', 'uid'],
  ['metadata', 'creationTimestamp'],
  ['metadata', 'generation'],
  ['metadata', 'managedFields'],
  ['metadata', 'selfLink'],
  ['metadata', 'annotations', 'kubectl.kubernetes.io/last-applied-configuration'],
] as const;

function removeServerFields(node: YAMLMap): void {
  for (const path of SERVER_FIELDS) if (node.hasIn(path)) node.deleteIn(path);
  const annotations = node.getIn(['metadata', 'annotations']);
  if (isMap(annotations) && annotations.items.length === 0) node.deleteIn(['metadata', 'annotations']);
}

/** All that stands above the object becomes the comment of its first key, without what we have written there. */
function keepOwnComment({ node, commentBefore }: YamlObject, generated: readonly string[]): void {
  const key = node.items[0]?.key;
  if (!isScalar(key)) return;
  const above = [commentBefore, node.commentBefore, firstComment(node)].filter(Boolean).join('\n');
  const own = generated.reduce((text, comment) => text.replace(comment.replace(/^(?=.)/gm, ' '), ''), above);
  node.commentBefore = null;
  key.commentBefore = own.trim() === '' ? null : own.replace(/^\n+|\n+$/g, '');
}
