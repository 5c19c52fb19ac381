import type { AddressRange } from '../../../access/addresses.js';

/** Addresses from the first to the last, both in it; of IPv4 or of IPv6. */
export interface Span {
  readonly family: 'ipv4' | 'ipv6';
  readonly first: bigint;
  readonly last: bigint;
}

/** The addresses of a range. */
export function spanOf({ network, prefix }: AddressRange): Span {
  const bytes = network.toByteArray();
  const first = bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  return { family: network.kind(), first, last: first + (1n << BigInt(bytes.length * 8 - prefix)) - 1n };
}

/** What of the spans is not in the other one. */
export function without(spans: readonly Span[], { family, first, last }: Span): readonly Span[] {
  return spans.flatMap((span) => {
    if (span.family !== family || span.last < first || span.first > last) return [span];
    const before = { ...span, last: first - 1n };
    const behind = { ...span, first: last + 1n };
    return [before, behind].filter((rest) => rest.first <= rest.last);
  });
}

/** Whether some address is in both. */
export function overlaps(one: Span, other: Span): boolean {
  return one.family === other.family && one.first <= other.last && other.first <= one.last;
}

/** Whether every address of the inner one is in the outer one. */
export function covers(outer: Span, inner: Span): boolean {
  return outer.family === inner.family && outer.first <= inner.first && outer.last >= inner.last;
}
