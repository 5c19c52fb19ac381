import { type EgressFirewall, type EgressRule, FIREWALL_KINDS, type FirewallKind } from './firewall-kinds.js';
import { type Manifest, ManifestFailure, type Material } from './manifest.js';
import { findFirewalls, mergeRules, unmergeRules } from './merge.js';
import { proxyAddress } from './proxy-address.js';
import { targetPorts } from './target-ports.js';
import type { YamlObject } from './yaml-objects.js';

/** What lets the pods of source namespaces out to the proxy, and to name servers outside of their cluster. */
export function sourceFirewalls(material: Material, namespaces: readonly string[]): readonly Manifest[] {
  const { target, ranges, inCluster } = proxyAddress(material);
  const ports = [{ protocol: 'TCP', port: target.port }] as const;
  const named = ranges.length > 0 || inCluster ? [] : [{ dnsName: target.host }];
  const proxy = [...ranges.map((cidrSelector) => ({ cidrSelector })), ...named];
  const rules = [...proxy.map((to): EgressRule => ({ type: 'Allow', to, ports })), ...nameRules(material)];
  const found = findFirewalls(material);
  return namespaces.flatMap((namespace) =>
    firewallOf(material, { namespace, rules, existing: found.get(namespace) }),
  );
}

/**
 * What lets the proxy's own pods out to the router and the API server of the target cluster, and to name servers. Throws
 * `ManifestFailure` where a firewall is asked for and `--target-router` is missing.
 */
export function proxyFirewalls(material: Material): readonly Manifest[] {
  const { namespace, targetRouter } = material;
  const existing = findFirewalls(material).get(namespace);
  if (existing === undefined && !makesNew(material)) return [];
  if (targetRouter.length === 0)
    throw new ManifestFailure(
      `the egress firewall of ${namespace} must let the proxy reach the router of the target: add its addresses, as in --target-router 203.0.113.10/32`,
    );
  // What stays in the cluster is none of its business.
  const outside = targetRouter.filter((router) => router !== 'cluster');
  const rules = outside.map(
    (cidrSelector): EgressRule => ({
      type: 'Allow',
      to: { cidrSelector },
      ports: targetPorts(material).map((port) => ({ protocol: 'TCP', port })),
    }),
  );
  return firewallOf(material, { namespace, rules: [...rules, ...nameRules(material)], existing });
}

function nameRules({ dnsServer }: Material): readonly EgressRule[] {
  return dnsServer.map((cidrSelector) => ({
    type: 'Allow',
    to: { cidrSelector },
    ports: [
      { protocol: 'UDP', port: 53 },
      { protocol: 'TCP', port: 53 },
    ],
  }));
}

function firewallOf(
  material: Material,
  {
    namespace,
    rules: wanted,
    existing,
  }: {
    readonly namespace: string;
    readonly rules: readonly EgressRule[];
    /** The firewall that the namespace has already, as far as `--merge` or `--unmerge` tells. */
    readonly existing: YamlObject | undefined;
  },
): readonly Manifest[] {
  const kind = FIREWALL_KINDS[material.network];
  const rules = material.network === 'sdn' ? wanted.map(forSdn) : wanted;
  const [merged, fresh, emptied] = [mergedComment(kind), freshComment(kind), emptiedComment(kind)];
  const generated = [merged, fresh, emptied, UNMERGED_COMMENT];
  if (existing !== undefined) {
    if (material.unmerge.length === 0)
      return [{ comment: merged, ...mergeRules(existing, { rules, generated, kind }) }];
    const left = unmergeRules(existing, { rules, generated });
    return [{ comment: left.object.spec.egress.length === 0 ? emptied : UNMERGED_COMMENT, ...left }];
  }
  if (!makesNew(material) || rules.length === 0) return [];
  const { apiVersion, name } = kind;
  const object: EgressFirewall = {
    ...{ apiVersion, kind: kind.kind, metadata: { name, namespace } },
    spec: { egress: rules },
  };
  return [{ comment: fresh, object }];
}

function makesNew({ egressFirewall, unmerge }: Material): boolean {
  return egressFirewall === 'new' && unmerge.length === 0;
}

const UNMERGED_COMMENT = `What was there, without the rules for the migration: apply it after the migration. A rule that did the very same before
it is gone as well.`;

function emptiedComment({ resource }: FirewallKind): string {
  return `It had no rules but those for the migration: after it, the object can be deleted, instead of applying this:
kubectl delete ${resource} -n NAMESPACE NAME`;
}

function mergedComment({ kind }: FirewallKind): string {
  return `What was there, with the rules for the migration before the Deny that would shadow them: the first rule that
fits decides.${kind === 'EgressFirewall' ? '' : ' OpenShift SDN knows no ports.'} It is for every pod of the namespace. Afterwards --unmerge FILE takes them out.`;
}

function freshComment({ kind, resource, plugin }: FirewallKind): string {
  const several =
    kind === 'EgressFirewall'
      ? 'this one would replace it, with all of its rules'
      : 'with two of them nothing leaves the namespace at all';
  return `ONLY FOR A NAMESPACE WITHOUT ${kind}, of which there can be one: ${several}.
Look first, and where there is one give it with --merge FILE instead:
kubectl get ${resource} -A -o yaml > FILE
Without a Deny nothing is forbidden, so this changes nothing by itself; put your Deny behind these rules. That one would be for
every pod of the namespace${kind === 'EgressFirewall' ? '' : `, ${plugin} knows no ports,`} and Deny 0.0.0.0/0 is for the API server of the cluster as well.`;
}

function forSdn({ type, to }: EgressRule): EgressRule {
  if ('cidrSelector' in to && to.cidrSelector.includes(':'))
    throw new ManifestFailure(`${to.cidrSelector} is IPv6, which OpenShift SDN does not have: leave it out`);
  return { type, to };
}
