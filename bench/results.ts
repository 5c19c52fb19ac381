import type { Figures } from './measure.js';
import { type Summary, summarise } from './statistics.js';

/** One trial that took place. */
export interface Record {
  readonly round: number;
  readonly trial: string;
  readonly contender: string;
  readonly figures: Figures;
  /** Why it failed; its figures are none then. */
  readonly error?: string;
}

/** Everything that was measured, figure by figure. */
export class Results {
  readonly #records: Record[] = [];

  add(record: Record): void {
    this.#records.push(record);
  }

  /** Every trial, with the figures that take those of another contender. */
  get records(): readonly Record[] {
    return this.#records.map((record) => ({ ...record, figures: this.#derive(record) }));
  }

  get failures(): readonly Record[] {
    return this.#records.filter(({ error }) => error !== undefined);
  }

  /** One figure over the rounds; undefined where there is none. */
  summary(trial: string, contender: string, key: string): Summary | undefined {
    const values = this.records
      .filter((record) => record.trial === trial && record.contender === contender)
      .map(({ figures }) => figures[key])
      .filter((value) => value !== undefined);
    return summarise(values);
  }

  /** The quotient of two medians; undefined where one is missing or the divisor is not positive. */
  ratio(of: Figure, to: Figure): number | undefined {
    const above = this.summary(of.trial, of.contender, of.key)?.median;
    const below = this.summary(to.trial, to.contender, to.key)?.median;
    return above === undefined || below === undefined || below <= 0 ? undefined : above / below;
  }

  /** Adds what a contender adds to the figures of `direct` in the same round. */
  #derive({ round, trial, contender, figures }: Record): Figures {
    if (trial !== 'round-trip' || contender === 'direct') return figures;
    const direct = this.#records.find(
      (record) => record.round === round && record.trial === trial && record.contender === 'direct',
    )?.figures;
    const { p50, p99 } = figures;
    if (direct?.p50 === undefined || direct.p99 === undefined || p50 === undefined || p99 === undefined)
      return figures;
    return { ...figures, addedP50: p50 - direct.p50, addedP99: p99 - direct.p99 };
  }
}

/** Which figure. */
export interface Figure {
  readonly trial: string;
  readonly contender: string;
  readonly key: string;
}
