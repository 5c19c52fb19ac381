import ipaddr from 'ipaddr.js';

/** A block of addresses in CIDR notation, parsed. */
export interface AddressRange {
  /** As it is shown: `10.0.0.0/8`, `2001:db8::/32`. */
  readonly text: string;
  readonly network: ipaddr.IPv4 | ipaddr.IPv6;
  readonly prefix: number;
}

/**
 * Parses `10.0.0.0/8`, `2001:db8::/32` or a single address.
 *
 * @returns the range, or undefined where the text is no such thing (including host bits set beyond the prefix, which
 *   would silently mean another range than the one written)
 */
export function parseRange(text: string): AddressRange | undefined {
  const match = /^([0-9a-fA-F.:]+)(?:\/([0-9]{1,3}))?$/.exec(text);
  const literal = match?.[1];
  if (literal === undefined) return undefined;
  if (!ipaddr.IPv4.isValidFourPartDecimal(literal) && !ipaddr.IPv6.isValid(literal)) return undefined;
  const parsed = ipaddr.parse(literal);
  const bits = parsed.kind() === 'ipv4' ? 32 : 128;
  const prefix = match?.[2] === undefined ? bits : Number(match[2]);
  if (prefix > bits) return undefined;
  const network =
    parsed.kind() === 'ipv4'
      ? ipaddr.IPv4.networkAddressFromCIDR(`${literal}/${prefix}`)
      : ipaddr.IPv6.networkAddressFromCIDR(`${literal}/${prefix}`);
  if (network.toNormalizedString() !== parsed.toNormalizedString()) return undefined;
  return { text: prefix === bits ? literal : `${literal}/${prefix}`, network, prefix };
}

/** A special-purpose range, and the document that reserves it. */
export interface SpecialPurpose {
  readonly range: AddressRange;
  readonly name: string;
  readonly source: string;
}

/**
 * The ranges that no rule but one naming an address range opens: the IANA special-purpose registries (RFC 6890) without
 * the private ones (RFC 1918, RFC 4193, RFC 6598), in which clusters live.
 */
export const SPECIAL_RANGES: readonly SpecialPurpose[] = [
  special('0.0.0.0/8', 'unspecified', 'RFC 791'),
  special('100.100.100.200/32', 'cloud metadata', 'Alibaba Cloud instance metadata service'),
  special('127.0.0.0/8', 'loopback', 'RFC 1122'),
  special('168.63.129.16/32', 'cloud metadata', 'Azure wire server'),
  special('169.254.0.0/16', 'link-local and cloud metadata', 'RFC 3927'),
  special('192.0.0.0/24', 'protocol assignments', 'RFC 6890'),
  special('192.0.2.0/24', 'documentation', 'RFC 5737'),
  special('192.88.99.0/24', '6to4 relay', 'RFC 7526'),
  special('198.18.0.0/15', 'benchmarking', 'RFC 2544'),
  special('198.51.100.0/24', 'documentation', 'RFC 5737'),
  special('203.0.113.0/24', 'documentation', 'RFC 5737'),
  special('224.0.0.0/4', 'multicast', 'RFC 5771'),
  special('240.0.0.0/4', 'reserved and broadcast', 'RFC 1112, RFC 919'),
  special('::/128', 'unspecified', 'RFC 4291'),
  special('::1/128', 'loopback', 'RFC 4291'),
  special('64:ff9b:1::/48', 'local-use NAT64, whose form nobody else knows', 'RFC 8215'),
  special('100::/64', 'discard-only', 'RFC 6666'),
  special('100:0:0:1::/64', 'dummy', 'RFC 9780'),
  special('2001:2::/48', 'benchmarking', 'RFC 5180'),
  special('2001:10::/28', 'ORCHID', 'RFC 4843'),
  special('2001:20::/28', 'ORCHIDv2', 'RFC 7343'),
  special('2001:db8::/32', 'documentation', 'RFC 3849'),
  special('3fff::/20', 'documentation', 'RFC 9637'),
  special('5f00::/16', 'SRv6 SIDs', 'RFC 9602'),
  special('fd00:ec2::254/128', 'cloud metadata', 'Amazon EC2 instance metadata service'),
  special('fd20:ce::254/128', 'cloud metadata', 'Google Compute Engine metadata server'),
  special('fe80::/10', 'link-local', 'RFC 4291'),
  special('fec0::/10', 'site-local', 'RFC 3879'),
  special('ff00::/8', 'multicast', 'RFC 4291'),
];

/** One address that a packet may end up at, see {@link addressViews}. */
export type View = ipaddr.IPv4 | ipaddr.IPv6;

/** Whether the range holds the address. */
export function inRange(address: View, range: AddressRange): boolean {
  if (address.kind() !== range.network.kind()) return false;
  return address.match(range.network, range.prefix);
}

/** Whether every address of the inner range is in the outer one. */
export function liesIn(inner: AddressRange, outer: AddressRange): boolean {
  return inner.prefix >= outer.prefix && inRange(inner.network, outer);
}

/** The special purpose of an address, or undefined where it has none. */
export function specialPurpose(address: View): SpecialPurpose | undefined {
  return SPECIAL_RANGES.find((row) => inRange(address, row.range));
}

/**
 * Every address that a packet to this one may end up at: itself, and the IPv4 address inside an IPv4-mapped (RFC 4291),
 * IPv4-translated (RFC 2765), IPv4-compatible (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC 3056), Teredo (RFC 4380) or ISATAP (RFC 5214) address.
 *
 * @param text an IPv4 or IPv6 address, as a resolver or `Target.host` gives it
 * @throws Error where the text is no address
 */
export function addressViews(text: string): readonly View[] {
  const address = ipaddr.parse(text);
  if (!(address instanceof ipaddr.IPv6)) return [address];
  const bytes = address.toByteArray();
  // :: and ::1 are no IPv4-compatible addresses, though their range is the same.
  if (bytes.slice(0, 15).every((byte) => byte === 0)) return [address];
  const embedded = EMBEDDINGS.filter((row) => inRange(address, row.range)).map((row) =>
    ipv4At(bytes, row.at, row.flipped),
  );
  // ISATAP is a form of the interface id and may stand below any prefix.
  if (bytes[10] === 0x5e && bytes[11] === 0xfe && ((bytes[8] ?? 0) & 0xfd) === 0 && bytes[9] === 0) {
    embedded.push(ipv4At(bytes, 12, false));
  }
  return address.isIPv4MappedAddress() ? embedded : [address, ...embedded];
}

/**
 * The addresses that an allow rule may mean by this one: itself, an IPv4-mapped one as IPv4 and, through the well-known prefix of
 * NAT64, the IPv4 address behind it. Not the other {@link addressViews}: whoever owns an IPv6 prefix chooses the ISATAP or 6to4
 * form of its hosts, and with it the IPv4 address that seems to be inside.
 */
export function destinationViews(text: string): readonly View[] {
  const views = addressViews(text);
  const [first] = views;
  return first !== undefined && inRange(first, NAT64) ? views : views.slice(0, 1);
}

/** Where transition mechanisms keep their IPv4 address: offset in bytes, and whether its bits are inverted. */
const EMBEDDINGS: readonly {
  readonly range: AddressRange;
  readonly at: number;
  readonly flipped: boolean;
}[] = [
  { range: range('::ffff:0:0/96'), at: 12, flipped: false },
  { range: range('::ffff:0:0:0/96'), at: 12, flipped: false },
  { range: range('::/96'), at: 12, flipped: false },
  { range: range('64:ff9b::/96'), at: 12, flipped: false },
  { range: range('2002::/16'), at: 2, flipped: false },
  { range: range('2001::/32'), at: 4, flipped: false },
  { range: range('2001::/32'), at: 12, flipped: true },
];

const NAT64 = range('64:ff9b::/96');

function ipv4At(bytes: readonly number[], at: number, flipped: boolean): ipaddr.IPv4 {
  return new ipaddr.IPv4(bytes.slice(at, at + 4).map((byte) => (flipped ? byte ^ 0xff : byte)));
}

function special(cidr: string, name: string, source: string): SpecialPurpose {
  return { range: range(cidr), name, source };
}

function range(cidr: string): AddressRange {
  const parsed = parseRange(cidr);
  if (parsed === undefined) throw new Error(`not a range: ${cidr}`);
  return parsed;
}
