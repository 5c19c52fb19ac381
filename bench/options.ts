import { parseArgs } from 'node:util';
import { CONTENDERS, type Contender } from './contenders.js';
import type { Trial } from './measure.js';
import { MEASURES } from './measures.js';

/** The command line of the bench. */
export interface Options {
  readonly quick: boolean;
  readonly netns: boolean;
  readonly requireAll: boolean;
  readonly verbose: boolean;
  readonly rounds: number;
  readonly trials: readonly Trial[];
  readonly contenders: readonly Contender[];
  /** Folder for the files, as given. */
  readonly out: string;
}

/** The command line is wrong: exit code 64. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

const ROUNDS = 5;
const ROUNDS_MOST = 1000;
const OUT = 'build/bench-results';

/** @throws UsageError; undefined where help is asked for */
export function parseOptions(argv: readonly string[]): Options | undefined {
  const values = parse(argv);
  if (values.help === true) return undefined;
  const rounds = values.rounds === undefined ? (values.quick ? 1 : ROUNDS) : Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > ROUNDS_MOST)
    throw new UsageError(`--rounds takes a whole number from 1 to ${ROUNDS_MOST}, not ${values.rounds}`);
  return {
    quick: values.quick === true,
    netns: values.netns === true,
    requireAll: values['require-all'] === true,
    verbose: values.verbose === true,
    rounds,
    trials: pickTrials(values.only),
    contenders: pickContenders(values.contenders),
    out: values.out ?? OUT,
  };
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      options: {
        help: { type: 'boolean', short: 'h' },
        quick: { type: 'boolean' },
        netns: { type: 'boolean' },
        'require-all': { type: 'boolean' },
        verbose: { type: 'boolean' },
        rounds: { type: 'string' },
        only: { type: 'string' },
        contenders: { type: 'string' },
        out: { type: 'string' },
      },
    }).values;
  } catch (error) {
    // The first sentence; the others are about how to pass what looks like an option.
    throw new UsageError(error instanceof Error ? error.message.replace(/\. .*/s, '') : String(error));
  }
}

function pickTrials(names: string | undefined): Trial[] {
  const all = MEASURES.flatMap((measure) =>
    measure.trials.map((trial) => ({ measure: measure.name, trial })),
  );
  const wanted = names?.split(',') ?? all.map(({ measure }) => measure);
  for (const name of wanted)
    if (!all.some(({ measure, trial }) => measure === name || trial.name === name))
      throw new UsageError(
        `--only: ${JSON.stringify(name)} is none of ${MEASURES.map((measure) => measure.name).join(', ')}, ${all
          .map(({ trial }) => trial.name)
          .filter((trial) => !MEASURES.some((measure) => measure.name === trial))
          .join(', ')}`,
      );
  return all
    .filter(({ measure, trial }) => wanted.includes(measure) || wanted.includes(trial.name))
    .map(({ trial }) => trial);
}

function pickContenders(names: string | undefined): readonly Contender[] {
  const wanted = names?.split(',');
  for (const name of wanted ?? [])
    if (!CONTENDERS.some((contender) => contender.name === name))
      throw new UsageError(
        `--contenders: ${JSON.stringify(name)} is none of ${CONTENDERS.map((contender) => contender.name).join(', ')}`,
      );
  return CONTENDERS.filter(({ name }) => wanted?.includes(name) ?? true);
}

/** What `--help` prints. */
export function help(): string {
  const measures = MEASURES.map(({ name, summary }) => `  ${name.padEnd(18)} ${summary}\n`);
  return `Usage: npm run bench -- [OPTIONS]

Compares spliceway with the proxies that people would use instead, on this machine: a fresh process for
every trial, every byte checked before anything is measured, one measurement at a time, in interleaved
rounds. Nothing leaves the machine. Tables go to standard output, progress to standard error.

      --quick              Everything once with tiny sizes, in about a minute: whether the bench and what
                           it measures are correct. Its figures mean nothing.
      --netns              Source, proxy and target in three network namespaces that are joined by veth
                           pairs, made and removed by the bench. Root only. Default: loopback.
      --rounds N           Times that every trial is run. [default ${ROUNDS}; 1 with --quick]
      --only NAME,...      These measures or trials only (bulk-1, bulk-8, bulk-100, both-8 are those of bulk).
      --contenders NAME,...
                           These contenders only: ${CONTENDERS.slice(0, 5)
                             .map(({ name }) => name)
                             .join(', ')},
                           ${CONTENDERS.slice(5)
                             .map(({ name }) => name)
                             .join(', ')}.
                           direct is no proxy, splice and stream are spliceway's engines.
      --require-all        Fail where a contender is absent, instead of going on without it.
      --out DIR            Write results.json, table.md and chart.svg there, after every round
                           and when interrupted.
                           [default ${OUT}, which the next build removes]
      --verbose            Print the configuration of every contender first.
  -h, --help               Print this.

Measures:
${measures.join('')}
As root, the contenders run as an unprivileged user without capabilities: root is exempt from the limit
of pipe memory that everybody else has. Peers: apt-get install --no-install-recommends haproxy squid
tinyproxy; those from npm come with npm ci.
Exit code: 0 done, 1 a trial failed or a byte was wrong, 64 wrong use, 130 interrupted.
`;
}
