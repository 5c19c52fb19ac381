import type { Contender } from './contenders.js';
import type { Figures, Trial } from './measure.js';
import type { Results } from './results.js';
import { Stage, type Theatre } from './stage.js';

/** What is to be run. */
export interface Programme {
  readonly theatre: Theatre;
  readonly trials: readonly Trial[];
  readonly contenders: readonly Contender[];
  readonly rounds: number;
  /** Where every trial goes, also one that failed. */
  readonly results: Results;
  /** Takes lines for the one who waits. */
  readonly progress: (line: string) => void;
  readonly afterRound: () => void;
}

/**
 * Runs every trial with every contender once in each round, one at a time. Who begins moves on with every trial and round, so that
 * nobody always comes first or last.
 */
export async function runRounds(programme: Programme): Promise<void> {
  const { theatre, trials, contenders, rounds, results, progress } = programme;
  const of = (trial: Trial) =>
    contenders.filter((contender) => trial.direct || contender.setup !== undefined);
  const count = rounds * trials.reduce((sum, trial) => sum + of(trial).length, 0);
  const estimateMs =
    rounds * trials.reduce((sum, trial) => sum + of(trial).length * trial.estimateMs(theatre.sizes), 0);
  progress(`${count} trials, about ${duration(estimateMs)}`);
  const start = performance.now();
  let done = 0;
  for (let round = 1; round <= rounds; round++) {
    for (const [index, trial] of trials.entries()) {
      for (const contender of rotated(of(trial), round + index)) {
        const outcome = await runTrial(theatre, trial, contender);
        results.add({ round, trial: trial.name, contender: contender.name, ...outcome });
        done++;
        const left = ((performance.now() - start) / done) * (count - done);
        const said = outcome.error ?? figuresLine(trial, outcome.figures);
        progress(
          `${done}/${count}, ${duration(left)} left: round ${round}, ${trial.name}, ${contender.name}: ${said}`,
        );
      }
    }
    programme.afterRound();
  }
}

/** A trial, from fresh processes to none; never throws. */
async function runTrial(
  theatre: Theatre,
  trial: Trial,
  contender: Contender,
): Promise<{ readonly figures: Figures; readonly error?: string }> {
  try {
    const stage = await Stage.open(theatre, contender);
    let figures: Figures;
    try {
      figures = await trial.run(stage);
    } catch (error) {
      // What the contender says about its own end explains more than what its client saw of it.
      await stage.close();
      throw error;
    }
    await stage.close();
    return { figures };
  } catch (error) {
    return { figures: {}, error: error instanceof Error ? error.message : String(error) };
  }
}

function figuresLine({ metrics }: Trial, figures: Figures): string {
  return metrics
    .filter(({ key }) => figures[key] !== undefined)
    .map(({ key, title, unit, digits }) => `${title} ${figures[key]?.toFixed(digits)} ${unit}`.trim())
    .join(', ');
}

function rotated<T>(items: readonly T[], by: number): T[] {
  const first = by % Math.max(items.length, 1);
  return [...items.slice(first), ...items.slice(0, first)];
}

function duration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  return seconds < 100 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}
