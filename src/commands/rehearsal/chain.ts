/** What a row of proxies can be made of. */
export const PROXY_KINDS = ['spliceway', 'squid'] as const;

/** One of `PROXY_KINDS`. */
export type ProxyKind = (typeof PROXY_KINDS)[number];

/** How long a row may be. */
export const MOST_PROXIES = 8;

/**
 * Reads the value of `--chain`: `2` (two spliceways), or the proxies by kind, from the source to the target:
 * `spliceway,squid`. Returns what is wrong with it as a text.
 */
export function parseChain(value: string): readonly ProxyKind[] | string {
  const words = /^\d+$/.test(value.trim())
    ? Array<string>(Math.min(Number(value), MOST_PROXIES + 1)).fill('spliceway')
    : value.split(',').map((word) => word.trim());
  const kinds = words.flatMap((word) => PROXY_KINDS.find((kind) => kind === word) ?? []);
  if (kinds.length < words.length) {
    return `--chain ${value}: write how many, or ${PROXY_KINDS.join(' and ')} in their order with commas between them`;
  }
  return kinds.length >= 1 && kinds.length <= MOST_PROXIES
    ? kinds
    : `--chain ${value}: not from 1 to ${MOST_PROXIES} proxies`;
}
