import ipaddr from 'ipaddr.js';
import { type AddressRange, parseRange } from '../../../access/addresses.js';
import { covers, overlaps, type Span, spanOf, without } from './ranges.js';
import type { KubeObject, Subject } from './subject.js';
import { listAt, textAt, type Value, valueAt } from './value.js';

/** An EgressFirewall or EgressNetworkPolicy. */
export interface Firewall {
  readonly object: KubeObject;
  readonly rules: readonly FirewallRule[];
}

/** One rule of it; the first that fits a connection decides, and without one it is allowed. */
export interface FirewallRule {
  readonly value: Value;
  readonly line: number;
  readonly allows: boolean;
  /** Neither of both where its type is neither. */
  readonly denies: boolean;
  /** Absent: `to` is something else, or no range. */
  readonly range?: AddressRange;
  /** Its addresses. */
  readonly span?: Span;
  readonly dnsName?: string;
  readonly nodes: boolean;
  /** `TCP 443`; none: every port. */
  readonly ports: readonly string[];
}

/** The firewalls of all namespaces. */
export function firewallsOf(subject: Subject): readonly Firewall[] {
  return subject.objects
    .filter(({ kind }) => kind === 'EgressFirewall' || kind === 'EgressNetworkPolicy')
    .map((object) => ({ object, rules: listAt(object.root, 'spec', 'egress').map(readRule) }));
}

function readRule(value: Value): FirewallRule {
  const type = textAt(value, 'type')?.toLowerCase();
  const to = valueAt(value, 'to');
  const range = readCidr(textAt(to, 'cidrSelector') ?? '');
  const dnsName = textAt(to, 'dnsName')?.toLowerCase().replace(/\.$/, '');
  return {
    value,
    line: value.line,
    allows: type === 'allow',
    denies: type === 'deny',
    ...(range === undefined ? {} : { range, span: spanOf(range) }),
    ...(dnsName === undefined ? {} : { dnsName }),
    nodes: valueAt(to, 'nodeSelector') !== undefined,
    ports: listAt(value, 'ports').map(
      (each) => `${textAt(each, 'protocol') ?? 'TCP'} ${textAt(each, 'port') ?? ''}`,
    ),
  };
}

/** A range as Go's `net.ParseCIDR` reads it: host bits beyond the prefix are dropped. Undefined: it is none. */
export function readCidr(text: string): AddressRange | undefined {
  if (!text.includes('/')) return undefined;
  const exact = parseRange(text);
  if (exact !== undefined) return exact;
  const literal = text.slice(0, text.indexOf('/'));
  if (!ipaddr.IPv4.isValidFourPartDecimal(literal) && !ipaddr.IPv6.isValid(literal)) return undefined;
  try {
    const kind = literal.includes(':') ? ipaddr.IPv6 : ipaddr.IPv4;
    return parseRange(`${kind.networkAddressFromCIDR(text)}/${text.slice(text.indexOf('/') + 1)}`);
  } catch {
    return undefined;
  }
}

/** The rule that refuses connections to some of these addresses; undefined where none does. */
export function refusingRule(
  { rules }: Firewall,
  { range, port, host }: { readonly range: AddressRange; readonly port: string; readonly host: string },
): FirewallRule | undefined {
  let open: readonly Span[] = [spanOf(range)];
  for (const rule of rules) {
    if (rule.ports.length > 0 && !rule.ports.includes(port)) continue;
    // A rule of nodes may be about these very addresses, and one of another name as well.
    if (rule.nodes) continue;
    if (rule.dnsName !== undefined) {
      if (!namesHost(rule.dnsName, host)) continue;
      return rule.denies ? rule : undefined;
    }
    const { span } = rule;
    if (span === undefined) continue;
    if (rule.denies && open.some((each) => overlaps(each, span))) return rule;
    if (rule.allows) open = without(open, span);
  }
  return undefined;
}

/** The rule that refuses connections to a host whose addresses nobody knows; undefined where one cannot tell. */
export function refusingRuleByName({ rules }: Firewall, host: string): FirewallRule | undefined {
  const named = ({ dnsName }: FirewallRule) => dnsName !== undefined && namesHost(dnsName, host);
  const refusing = rules.find(
    (rule) => rule.denies && rule.ports.length === 0 && (rule.range?.prefix === 0 || named(rule)),
  );
  const before = rules.slice(0, refusing === undefined ? 0 : rules.indexOf(refusing));
  // A range may hold its address.
  const may = before.some((rule) => rule.allows && (rule.range !== undefined || rule.nodes || named(rule)));
  return may ? undefined : refusing;
}

/** Whether a name in a rule is the host's; OVN-Kubernetes takes `*.example` for the names right below. */
export function namesHost(dnsName: string, host: string): boolean {
  const name = host.toLowerCase();
  return dnsName.startsWith('*.')
    ? name.endsWith(dnsName.slice(1)) && !name.slice(0, -dnsName.length + 1).includes('.')
    : dnsName === name;
}

/** The earlier rule that keeps an allowing one from ever being reached, or the last of several that do together. */
export function shadowOf({ rules }: Firewall, at: number): FirewallRule | undefined {
  const rule = rules[at];
  if (rule === undefined || !rule.allows) return undefined;
  const denies = rules
    .slice(0, at)
    .filter(
      ({ denies, ports }) =>
        denies &&
        (ports.length === 0 || (rule.ports.length > 0 && rule.ports.every((port) => ports.includes(port)))),
    );
  if (rule.range === undefined) {
    if (rule.dnsName === undefined && !rule.nodes) return undefined;
    return denies.find(
      (deny) =>
        (deny.range !== undefined && deny.range.prefix === 0) ||
        (rule.dnsName !== undefined && deny.dnsName === rule.dnsName),
    );
  }
  const own = spanOf(rule.range);
  const alone = denies.find(({ span }) => span !== undefined && covers(span, own));
  if (alone !== undefined) return alone;
  let open: readonly Span[] = [own];
  for (const deny of denies) {
    if (deny.span === undefined) continue;
    open = without(open, deny.span);
    if (open.length === 0) return deny;
  }
  return undefined;
}
