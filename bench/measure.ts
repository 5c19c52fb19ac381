import type { Sizes } from './sizes.js';
import type { Stage } from './stage.js';

/** A figure that a trial gives. */
export interface Metric {
  /** Its name among the figures of its trial. */
  readonly key: string;
  /** Head of its column. */
  readonly title: string;
  readonly unit: string;
  /** Whether the tables divide it by those of HAProxy and Squid. */
  readonly compared: boolean;
  /** Decimals in tables. */
  readonly digits: number;
}

/** The figures of one trial, by key; what a contender does not have is missing. */
export type Figures = Readonly<Record<string, number>>;

/** One thing that is done to each contender in each round. */
export interface Trial {
  readonly name: string;
  /** Head of its table. */
  readonly title: string;
  readonly metrics: readonly Metric[];
  /** False: it is about the proxy alone, and there is nothing to measure without one. */
  readonly direct: boolean;
  /** How long it takes, roughly. */
  readonly estimateMs: (sizes: Sizes) => number;
  /** @throws BenchError where anything went wrong, a wrong byte before all */
  readonly run: (stage: Stage) => Promise<Figures>;
}

/** A measure: trials that belong together. */
export interface Measure {
  readonly name: string;
  readonly summary: string;
  readonly trials: readonly Trial[];
}

/** What is defined of these. */
export function figures(values: Readonly<Record<string, number | undefined>>): Figures {
  const known = Object.entries(values).filter((entry): entry is [string, number] => entry[1] !== undefined);
  return Object.fromEntries(known);
}
