import { type AddressRange, parseRange } from '../../../access/addresses.js';
import {
  type Firewall,
  type FirewallRule,
  firewallsOf,
  namesHost,
  refusingRule,
  refusingRuleByName,
} from './firewalls.js';
import { isForMigration, policiesOf } from './policies.js';
import { isElsewhere, type KnownProxy, knownProxy, sourceNamespaces } from './proxy.js';
import { covers, spanOf } from './ranges.js';
import { type Mistake, mistakeIn, type Subject } from './subject.js';
import { entryAt, textAt } from './value.js';

/** What the pods of a namespace have to reach outside of their cluster. */
interface Need {
  /** As in `refuses …`. */
  readonly what: string;
  /** A name or an address. */
  readonly host: string;
  /** `TCP 3128`. */
  readonly port: string;
  readonly addresses: readonly AddressRange[];
}

/** Deny where the proxy, or a range that was still to be filled in, was to be allowed. */
export function denyWhereAllow(subject: Subject): readonly Mistake[] {
  const needsOf = needsIn(subject);
  return firewallsOf(subject).flatMap((firewall) => {
    const needs = needsOf(firewall);
    return firewall.rules.flatMap((rule) => {
      if (!rule.denies) return [];
      const need = needs.find((each) => isFor(rule, each));
      if (need === undefined && !isUnfilled(rule)) return [];
      return [
        mistakeIn(firewall.object, entryAt(rule.value, 'type'), {
          problem:
            need === undefined
              ? 'this rule forbids what the migration needs: in the example that it comes from, Deny is a mistake'
              : `this rule forbids ${need.what}, which the migration needs`,
          fix: 'write type: Allow, and put the rule before every broader Deny',
        }),
      ];
    });
  });
}

/** Firewalls that refuse what the migration needs: the proxy at the source, the target's router where the proxy is. */
export function firewallBlocksMigration(subject: Subject): readonly Mistake[] {
  const needsOf = needsIn(subject);
  return firewallsOf(subject).flatMap((firewall) =>
    needsOf(firewall).flatMap((need) => {
      const refusing = refuses(firewall, need);
      // Told as what it is, and where.
      if (refusing === undefined || isFor(refusing, need)) return [];
      const to =
        need.addresses.length === 0
          ? [`    dnsName: ${need.host}`]
          : need.addresses.map(({ network, prefix }) => `    cidrSelector: ${network}/${prefix}`);
      const rules = to.map((line) => `- type: Allow\n  to:\n${line}`).join('\n');
      const allowed = firewall.rules.filter(({ allows }) => allows).map(shown);
      return [
        mistakeIn(firewall.object, refusing.value, {
          problem: `this Deny refuses ${need.what}${allowed.length === 0 ? '' : `; what is allowed is ${allowed.join(', ')}`}`,
          fix: `put before it:\n${rules}`,
        }),
      ];
    }),
  );
}

function needsIn(subject: Subject): (firewall: Firewall) => readonly Need[] {
  const { dnsServers, targetRouters } = subject;
  const meant = policiesOf(subject, 'egress')
    .filter(({ selector }) => isForMigration(selector))
    .map(({ object }) => object.namespace);
  const sources = sourceNamespaces(subject, meant);
  const proxy = knownProxy(subject);
  const atSource = [
    // A Service of the same cluster is no matter of firewalls, which are about what leaves it.
    ...(proxy === undefined || isService(proxy)
      ? []
      : [{ ...proxy, what: `the proxy, ${proxy.host} port ${proxy.port}`, port: `TCP ${proxy.port}` }]),
    ...need('the name servers', 'UDP 53', dnsServers),
  ];
  const atProxy = need("the target's router", 'TCP 443', targetRouters);
  return ({ object: { namespace } }) => {
    if (namespace === subject.proxyNamespace) return atProxy;
    // Where nobody says which namespaces are sources, any may be one that is no other's.
    const known = sources !== undefined && namespace !== '';
    return (known ? sources.has(namespace) : !isElsewhere(subject, namespace)) ? atSource : [];
  };
}

const SERVICES = parseRange('172.30.0.0/16');

/** By its name, or an address out of the range that clusters have for their Services by default. */
function isService({ host, addresses }: KnownProxy): boolean {
  return (
    /\.svc(?:\.|$)/.test(host) ||
    (SERVICES !== undefined &&
      addresses.length > 0 &&
      addresses.every((range) => covers(spanOf(SERVICES), spanOf(range))))
  );
}

function need(what: string, port: string, addresses: readonly AddressRange[]): readonly Need[] {
  const [first] = addresses;
  return first === undefined ? [] : [{ what, host: first.text, port, addresses }];
}

function refuses(firewall: Firewall, { host, port, addresses }: Need): FirewallRule | undefined {
  if (addresses.length === 0) return refusingRuleByName(firewall, host);
  return addresses
    .map((range) => refusingRule(firewall, { range, port, host }))
    .find((rule) => rule !== undefined);
}

/** A Deny for the very addresses, not for everything around them. */
function isFor(rule: FirewallRule, { host, addresses }: Need): boolean {
  const { range } = rule;
  if (rule.dnsName !== undefined) return namesHost(rule.dnsName, host);
  if (range === undefined || range.prefix < (range.network.kind() === 'ipv4' ? 24 : 64)) return false;
  return addresses.some(
    (address) => covers(spanOf(range), spanOf(address)) || covers(spanOf(address), spanOf(range)),
  );
}

function isUnfilled({ value }: FirewallRule): boolean {
  const texts = [textAt(value, 'to', 'cidrSelector'), textAt(value, 'to', 'dnsName')];
  return texts.some((text) => text !== undefined && /^<.*>$/.test(text));
}

function shown({ value }: FirewallRule): string {
  return textAt(value, 'to', 'cidrSelector') ?? textAt(value, 'to', 'dnsName') ?? 'nodes';
}
