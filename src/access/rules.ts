import { parseHost, parseIpv6, parsePort, type Target } from '../target.js';
import { type AddressRange, destinationViews, inRange, parseRange, type View } from './addresses.js';

/** Ports that a rule without a port part, and the policy without rules, stand for: HTTPS and the Kubernetes API. */
export const DEFAULT_PORTS: readonly PortRange[] = [
  { from: 443, to: 443 },
  { from: 6443, to: 6443 },
];

/** Ports from–to, both included. */
export interface PortRange {
  readonly from: number;
  readonly to: number;
}

/** One `--allow` or `--deny`: hosts by name, or addresses by range, each with ports. Build it with {@link parseRule}. */
export interface Rule {
  /** As it was written; logs and replies show it. */
  readonly text: string;
  readonly hosts: HostPattern | AddressRange;
  readonly ports: readonly PortRange[];
}

/**
 * A name in which `*` stands for letters within one label, and a leading `*.` for one label or more. It fits names only:
 * whoever means addresses writes a range, which also holds for names that resolve into it. `*` alone fits every host.
 */
export interface HostPattern {
  readonly pattern: RegExp;
  /** Whether it is `*`. */
  readonly any: boolean;
}

/**
 * Parses `HOST_PATTERN[:PORTS]`.
 *
 * @returns the rule, or what is wrong with the text and how to write it
 */
export function parseRule(text: string): Rule | { readonly problem: string } {
  const match = /^(\[[^\]]*\](?:\/[0-9]+)?|[^:[\]]*)(?::([^:]*))?$/.exec(text);
  if (match === null) return { problem: 'write HOST_PATTERN[:PORTS], IPv6 in brackets: [2001:db8::]/32:443' };
  const [, hostText = '', portText] = match;
  const ports = portText === undefined ? DEFAULT_PORTS : parsePorts(portText);
  if ('problem' in ports) return ports;
  const hosts = parseHosts(hostText);
  return 'problem' in hosts ? hosts : { text, hosts, ports };
}

/** Whether a target is one of those that a rule names: a name by its pattern, an address by its range. No name is resolved. */
export function matches(rule: Rule, target: Target): boolean {
  if (!hasPort(rule.ports, target.port)) return false;
  if (matchesName(rule, target)) return true;
  return (
    target.family !== 0 && 'network' in rule.hosts && holdsOne(rule.hosts, destinationViews(target.host))
  );
}

/** Whether a rule names this host: `*` fits any, a pattern fits names only. */
export function matchesName({ hosts }: Rule, { host, family }: Target): boolean {
  return 'pattern' in hosts && (hosts.any || (family === 0 && hosts.pattern.test(host)));
}

/** Whether one of the ranges holds the port. */
export function hasPort(ranges: readonly PortRange[], port: number): boolean {
  return ranges.some((range) => range.from <= port && port <= range.to);
}

/** Whether one of these views of an address lies in the range. */
export function holdsOne(range: AddressRange, views: readonly View[]): boolean {
  return views.some((view) => inRange(view, range));
}

function parseHosts(text: string): HostPattern | AddressRange | { readonly problem: string } {
  const bracketed = /^\[([^\]]*)\](\/[0-9]+)?$/.exec(text);
  if (bracketed !== null) {
    const literal = bracketed[1] ?? '';
    const parsed = parseIpv6(literal);
    if ('problem' in parsed) return parsed;
    if (parsed.family === 4) return { problem: `${text} is an IPv4 address: write ${parsed.host}` };
    return parseRange(`${literal}${bracketed[2] ?? ''}`) ?? { problem: noRange(text) };
  }
  if (/^[0-9.]+(\/[0-9]*)?$/.test(text)) return parseRange(text) ?? { problem: noRange(text) };
  // Without its dot *. would be a star that fits single labels only.
  if (text === '' || text === '*.') return { problem: 'it has no host; * stands for any' };
  if (/^[0-9.*]*[0-9][0-9.*]*$/.test(text)) return { problem: noRange(text) };
  // A wildcard stands where letters may, so the name must be valid with letters in its place.
  const name = text.replace(/^\*\./, 'any.').replaceAll('*', 'a');
  const parsed = parseHost(name);
  if ('problem' in parsed)
    return { problem: 'its host is neither a name (* allowed), nor an address, nor a range' };
  return { pattern: hostPattern(text.toLowerCase().replace(/\.$/, '')), any: text === '*' };
}

function noRange(text: string): string {
  return `${text} is not an address range: write NETWORK/PREFIX with no host bits set, such as 10.0.0.0/8`;
}

function hostPattern(text: string): RegExp {
  const [lead, rest] = text.startsWith('*.') ? ['(?:[^.]+\\.)+', text.slice(2)] : ['', text];
  const body = rest.split('*').map((part) => part.replaceAll('.', '\\.'));
  return new RegExp(`^${lead}${body.join('[^.]*')}$`);
}

function parsePorts(text: string): readonly PortRange[] | { readonly problem: string } {
  if (text === '*') return [{ from: 1, to: 65535 }];
  const ranges: PortRange[] = [];
  for (const part of text.split(',')) {
    const [first = '', last = first, ...more] = part.split('-');
    const from = parsePort(first);
    const to = parsePort(last);
    if (typeof from !== 'number' || typeof to !== 'number' || more.length > 0 || from > to) {
      return { problem: `its ports ${JSON.stringify(text)} are not like 443, 443,6443, 30000-32767 or *` };
    }
    ranges.push({ from, to });
  }
  return ranges;
}
