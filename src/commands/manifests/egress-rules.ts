import { type AddressRange, liesIn, parseRange } from '../../access/addresses.js';

/** A rule of an egress firewall as somebody wrote it: where it leads may be of another kind than ours do. */
export interface SeenRule {
  readonly type: 'Allow' | 'Deny';
  readonly to: Readonly<Record<string, unknown>>;
  /** Absent: every port. */
  readonly ports?: readonly { readonly protocol: string; readonly port: number }[];
}

/** The rule in a value that was read from YAML, or undefined where there is none. */
export function seenRule(value: unknown): SeenRule | undefined {
  if (!isRecord(value) || !isRecord(value.to)) return undefined;
  const { type, to, ports } = value;
  if (type !== 'Allow' && type !== 'Deny') return undefined;
  if (!Array.isArray(ports) || ports.length === 0) return { type, to };
  return {
    ...{ type, to },
    ports: ports.filter(isRecord).map(({ protocol, port }) => ({
      protocol: String(protocol).toUpperCase(),
      port: Number(port),
    })),
  };
}

/**
 * What one rule has of another one's connections: `covers` all of them, `some` (or who knows: names resolve to what they
 * want), or `none`.
 */
export function overlap(rule: SeenRule, other: SeenRule): 'covers' | 'some' | 'none' {
  const both = [destinationOverlap(rule.to, other.to), portOverlap(rule.ports, other.ports)];
  if (both.includes('none')) return 'none';
  return both.every((each) => each === 'covers') ? 'covers' : 'some';
}

function destinationOverlap(to: SeenRule['to'], other: SeenRule['to']): 'covers' | 'some' | 'none' {
  const [range, otherRange] = [rangeOf(to), rangeOf(other)];
  if (range !== undefined && otherRange !== undefined) {
    if (liesIn(otherRange, range)) return 'covers';
    return liesIn(range, otherRange) ? 'some' : 'none';
  }
  const [name, otherName] = [nameOf(to), nameOf(other)];
  return name !== undefined && name === otherName ? 'covers' : 'some';
}

function portOverlap(ports: SeenRule['ports'], others: SeenRule['ports']): 'covers' | 'some' | 'none' {
  if (ports === undefined) return 'covers';
  if (others === undefined) return 'some';
  const common = others.filter(({ protocol, port }) =>
    ports.some((each) => each.protocol === protocol && each.port === port),
  );
  if (common.length === others.length) return 'covers';
  return common.length > 0 ? 'some' : 'none';
}

function rangeOf({ cidrSelector }: SeenRule['to']): AddressRange | undefined {
  return typeof cidrSelector === 'string' ? parseRange(cidrSelector) : undefined;
}

function nameOf({ dnsName }: SeenRule['to']): string | undefined {
  return typeof dnsName === 'string' ? dnsName.toLowerCase().replace(/\.$/, '') : undefined;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
