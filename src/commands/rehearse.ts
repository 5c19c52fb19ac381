import { parseArgs } from 'node:util';

import { GENERATIONS } from './rehearsal/configurations.js';
import { describeFailure, RehearsalFailure } from './rehearsal/failure.js';
import { type Migration, type MigrationOptions, migrate } from './rehearsal/migration.js';
import { findPrograms, MIGRATION_PROGRAMS, ProgramsMissing } from './rehearsal/programs.js';
import { ProgressBar } from './rehearsal/progress.js';
import { formatBytes, parseSizeBytes } from './rehearsal/sizes.js';
import { renderTunnels } from './rehearsal/tunnels.js';
import { Workspace } from './rehearsal/workspace.js';

/** What the command does, for the list of commands. */
export const REHEARSE_SUMMARY = 'run a Direct Volume Migration on this machine, with the real programs';

/**
 * `spliceway rehearse`: a Direct Volume Migration from one directory to another through stunnel, spliceway, HAProxy
 * and rsync's daemon, all on loopback. Leaves no process and no file behind, unless `--keep` is given.
 *
 * @param argv the arguments behind `rehearse`
 * @returns the exit code: 0 both trees are equal, 1 failed, 64 wrong use, 128 + n ended by signal n
 */
export async function rehearse(argv: readonly string[]): Promise<number> {
  const request = readArguments(argv);
  if (typeof request === 'string') {
    process.stderr.write(`rehearse: ${request}\nSee spliceway rehearse --help.\n`);
    return 64;
  }
  if (request.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const interruption = new AbortController();
  const release = interruptOnSignals(interruption);
  try {
    const programs = await findPrograms(MIGRATION_PROGRAMS);
    const workspace = await Workspace.create(programs, interruption.signal);
    try {
      return await perform(workspace, request);
    } finally {
      await workspace.close({ keep: request.keep });
      if (request.keep) process.stdout.write(`Kept: ${workspace.directory}\n`);
    }
  } catch (error) {
    // What was interrupted may have failed in a way of its own; the interruption is the reason.
    return explain(interruption.signal.aborted ? interruption.signal.reason : error);
  } finally {
    release();
  }
}

const HELP = `Usage: spliceway rehearse [options]

${REHEARSE_SUMMARY}:
rsync's daemon, a stunnel server and HAProxy as the router of a Route on one side, a stunnel client
configured as MTC does it, the nc -z probe and rsync on the other, and spliceway between them.

  --size SIZE         how much to migrate: KiB, MiB, GiB or bytes (default 256MiB)
  --files N           how many small files are among it (default 200)
  --generation G      who configures the stunnel client: ${GENERATIONS.join(', ')};
                      1.6 is MTC 1.6 and every later one, crane uses TLS 1.3 (default 1.6)
  --relay ENGINE      handed to spliceway serve
  --keep              keep the working directory (logs, configurations, both trees)
  --help              this text

It ends with 0 when both trees are equal, 1 when anything failed, 64 for wrong use,
128 + n when signal n ended it.
`;

const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;

interface Request extends MigrationOptions {
  readonly keep: boolean;
  readonly help: boolean;
}

/** Somebody wants it to end. Everything that waits throws this. */
class Interrupted extends Error {
  readonly exitCode: number;

  constructor(what: string, exitCode: number) {
    super(what);
    this.exitCode = exitCode;
  }
}

// A text is what is wrong with the arguments.
function readArguments(argv: readonly string[]): Request | string {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        size: { type: 'string', default: '256MiB' },
        files: { type: 'string', default: '200' },
        generation: { type: 'string', default: '1.6' },
        relay: { type: 'string' },
        keep: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    const sizeBytes = parseSizeBytes(values.size);
    if (sizeBytes === undefined)
      return `--size ${values.size}: not a size; write 64KiB, 256MiB, 1.5GiB or bytes`;
    if (!/^\d{1,6}$/.test(values.files)) return `--files ${values.files}: not a number from 0 to 999999`;
    const generation = GENERATIONS.find((known) => known === values.generation);
    if (generation === undefined)
      return `--generation ${values.generation}: not one of ${GENERATIONS.join(', ')}`;
    const { keep, help, relay } = values;
    return {
      sizeBytes,
      files: Number(values.files),
      generation,
      keep,
      help,
      ...(relay === undefined ? {} : { relay }),
    };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function interruptOnSignals(interruption: AbortController): () => void {
  const listeners = Object.entries(SIGNALS).map(([signal, number]) => {
    const listener = (): void => interruption.abort(new Interrupted(`ended by ${signal}`, 128 + number));
    process.on(signal, listener);
    return () => process.off(signal, listener);
  });
  // `spliceway rehearse | head` closes our standard output: that must not leave the programs running.
  const closed = (): void => interruption.abort(new Interrupted('standard output was closed', 1));
  process.stdout.on('error', closed);
  return () => {
    for (const remove of listeners) remove();
    process.stdout.off('error', closed);
  };
}

async function perform(workspace: Workspace, options: MigrationOptions): Promise<number> {
  const bar = new ProgressBar(process.stdout);
  const write = (line: string): unknown => process.stdout.write(`${line}\n`);
  write('A Direct Volume Migration on this machine');
  const migration = await migrate(workspace, options, {
    step: (what, detail) => write(`  ${what.padEnd(11)}${detail}`),
    progress: (progress) => bar.show(progress),
  }).finally(() => bar.done());
  for (const line of describeMigration(migration)) write(line);
  if (migration.source.sha256 === migration.destination.sha256) return 0;
  throw new RehearsalFailure('the destination differs from the source, although rsync reported success', {
    excerpts: [await migration.spliceway.child.excerpt()],
    remedy: 'Compare both trees: run again with --keep, then diff -r --no-dereference source destination.',
  });
}

function describeMigration({ source, destination, seconds, tunnels }: Migration): readonly string[] {
  const equal = source.sha256 === destination.sha256;
  return [
    `  ${'speed'.padEnd(11)}${formatBytes(source.contentBytes)} in ${seconds.toFixed(1)} s, ${(source.contentBytes / 1024 ** 2 / seconds).toFixed(1)} MiB/s`,
    `  ${'source'.padEnd(11)}sha256 ${source.sha256}`,
    `  ${'arrived'.padEnd(11)}sha256 ${destination.sha256} ${equal ? '(equal)' : '(DIFFERENT)'}`,
    '',
    'The tunnels as spliceway saw them',
    ...renderTunnels(tunnels).map((line) => `  ${line}`),
  ];
}

function explain(error: unknown): number {
  if (error instanceof Interrupted) {
    process.stderr.write(`rehearse: ${error.message}; nothing is left running\n`);
    return error.exitCode;
  }
  if (error instanceof RehearsalFailure) {
    process.stderr.write(describeFailure(error));
  } else if (error instanceof ProgramsMissing) {
    process.stderr.write(`rehearse needs ${error.message}\n`);
  } else {
    process.stderr.write(`rehearse: ${error instanceof Error ? error.message : String(error)}\n`);
  }
  return 1;
}
