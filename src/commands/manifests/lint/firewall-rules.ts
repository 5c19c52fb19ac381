import { type FirewallRule, firewallsOf, shadowOf } from './firewalls.js';
import { type KnownProxy, knownProxy } from './proxy.js';
import { covers, spanOf } from './ranges.js';
import { type Mistake, mistakeIn, type Subject } from './subject.js';
import { valueAt } from './value.js';

/** Allow behind a Deny that is as broad: the first rule that fits decides. */
export function allowBehindDeny(subject: Subject): readonly Mistake[] {
  return firewallsOf(subject).flatMap((firewall) =>
    firewall.rules.flatMap((rule, at) => {
      const shadow = shadowOf(firewall, at);
      if (shadow === undefined) return [];
      return [
        mistakeIn(firewall.object, rule.value, {
          problem: `this Allow is never reached: the Deny in line ${shadow.line} covers it, and the first rule that fits decides`,
          fix: `move it before line ${shadow.line}`,
        }),
      ];
    }),
  );
}

/** The network of a cluster where the address of the proxy belongs. */
export function clusterInsteadOfProxy(subject: Subject): readonly Mistake[] {
  const unfilled = /^<[^<>]*cluster[^<>]*>$/i;
  const fix =
    "write the proxy's address, such as 192.0.2.10/32 (where the proxy runs: that of the target's router); with a proxy the pods connect to nothing else";
  return firewallsOf(subject).flatMap((firewall) => {
    const only = firewall.rules.filter(({ allows }) => allows);
    return firewall.rules.flatMap((rule) => {
      const cidr = valueAt(rule.value, 'to', 'cidrSelector');
      const text = cidr?.text ?? '';
      const problem = unfilled.test(text)
        ? `${text} asks for the range of a cluster, which helps nobody`
        : CLUSTER_NETWORKS.includes(text) &&
            only.length === 1 &&
            rule.allows &&
            knownProxy(subject) === undefined
          ? `${text} is what clusters have inside by default; it leads nowhere from another one`
          : undefined;
      return problem === undefined ? [] : [mistakeIn(firewall.object, cidr, { problem, fix })];
    });
  });
}

const CLUSTER_NETWORKS = ['10.128.0.0/14', '172.30.0.0/16'];

/** `Deny 0.0.0.0/0` with nothing that could let the API server of the cluster through. */
export function blocksCluster(subject: Subject): readonly Mistake[] {
  const proxy = knownProxy(subject);
  return firewallsOf(subject).flatMap((firewall) => {
    const at = firewall.rules.findIndex(
      (rule) => rule.denies && rule.range?.prefix === 0 && rule.ports.length === 0,
    );
    const deny = firewall.rules[at];
    if (
      deny === undefined ||
      firewall.rules.slice(0, at).some((rule) => rule.allows && mayBeApiServer(rule, proxy))
    )
      return [];
    const ovn = firewall.object.kind === 'EgressFirewall';
    const to = ovn
      ? '    nodeSelector:\n      matchLabels:\n        node-role.kubernetes.io/control-plane: ""'
      : '    cidrSelector: ADDRESS/32   # of oc get endpoints kubernetes -n default, each of them';
    return [
      mistakeIn(firewall.object, deny.value, {
        problem: "this Deny also blocks the cluster's own API server, and name servers outside of it",
        fix: `put before it, if pods of this namespace need it:\n- type: Allow\n  to:\n${to}`,
      }),
    ];
  });
}

function mayBeApiServer(rule: FirewallRule, proxy: KnownProxy | undefined): boolean {
  if (rule.nodes) return true;
  if (rule.ports.length > 0 && !rule.ports.includes('TCP 6443')) return false;
  if (rule.dnsName !== undefined) return /^(?:api(?:-int)?\.|kubernetes(?:\.|$)|\*\.)/.test(rule.dnsName);
  const { range } = rule;
  return (
    range !== undefined && !(proxy?.addresses ?? []).some((address) => covers(spanOf(address), spanOf(range)))
  );
}
