/** What several rounds of one figure come to. */
export interface Summary {
  readonly median: number;
  readonly least: number;
  readonly most: number;
  readonly rounds: number;
}

/** Undefined where there is no value. */
export function summarise(values: readonly number[]): Summary | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.floor((sorted.length - 1) / 2)];
  const least = sorted[0];
  const most = sorted.at(-1);
  if (upper === undefined || lower === undefined || least === undefined || most === undefined)
    return undefined;
  return { median: (lower + upper) / 2, least, most, rounds: sorted.length };
}

/** Jain's index of fairness (RFC 5166, section 2.3): 1 where all have the same, 1/n where one has everything. */
export function jainIndex(shares: readonly number[]): number {
  let sum = 0;
  let squares = 0;
  for (const share of shares) {
    sum += share;
    squares += share * share;
  }
  return squares === 0 ? 0 : (sum * sum) / (shares.length * squares);
}
