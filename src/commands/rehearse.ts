import { parseArgs } from 'node:util';
import { writeOut } from '../standard-output.js';
import { GENERATIONS } from './mtc/configurations.js';
import { MOST_PROXIES, type ProxyKind, parseChain } from './rehearsal/chain.js';
import { describeFailure, RehearsalFailure } from './rehearsal/failure.js';
import { type Migration, type MigrationOptions, migrate } from './rehearsal/migration.js';
import { followOutside, runInNamespaces } from './rehearsal/namespaces.js';
import {
  findPrograms,
  LINE_PROGRAMS,
  MIGRATION_PROGRAMS,
  type ProgramNeed,
  ProgramsMissing,
  SQUID_PROGRAMS,
} from './rehearsal/programs.js';
import { ProgressBar } from './rehearsal/progress.js';
import { formatBytes, parseSizeBytes } from './rehearsal/sizes.js';
import { Workspace } from './rehearsal/workspace.js';

/**
 * `spliceway rehearse`: a Direct Volume Migration from one directory to another through stunnel, spliceway, HAProxy
 * and rsync's daemon, all on loopback or, with `--chain`, each in a network namespace of its own. Leaves no process and
 * no file behind, unless `--keep` is given.
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
    await writeOut(HELP);
    return 0;
  }
  const interruption = new AbortController();
  const release = interruptOnSignals(interruption);
  const releaseOutside = request.inside ? interruptFromOutside(interruption) : undefined;
  try {
    if (request.chain !== undefined && !request.inside) {
      const { signal } = interruption;
      const { unshare } = await findPrograms(programsFor(request.chain));
      const describe = (reason: unknown): string => (reason instanceof Signalled ? reason.signal : 'SIGTERM');
      return await runInNamespaces(argv, { unshare, signal, describe });
    }
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
    releaseOutside?.();
  }
}

const HELP = `Usage: spliceway rehearse [options]

run a Direct Volume Migration on this machine, with the real programs:
rsync's daemon, a stunnel server and HAProxy as the router of a Route on one side, a stunnel client
configured as MTC does it, the nc -z probe and rsync on the other, and spliceway between them.

  --size SIZE         how much to migrate: KiB, MiB, GiB or bytes (default 256MiB)
  --files N           how many small files are among it (default 200)
  --generation G      who configures the stunnel client: ${GENERATIONS.join(', ')};
                      1.6 is MTC 1.6 and every later one, crane uses TLS 1.3 (default 1.6)
  --relay ENGINE      handed to spliceway serve
  --chain PROXIES     put this row of 1 to ${MOST_PROXIES} proxies between source and target, each of them in a
                      network namespace of its own and with no other way: spliceway and squid,
                      with commas between (squid,spliceway), or a number of spliceways; needs
                      root, or ordinary users that may make namespaces
  --keep              keep the working directory (logs, configurations, both trees)
  --help              this text

It ends with 0 when both trees are equal, 1 when anything failed, 64 for wrong use,
128 + n when signal n ended it.
`;

const ALONE_AT_MOST_MS = 60_000;

const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
const SIGNAL_NAMES = ['SIGHUP', 'SIGINT', 'SIGTERM'] as const satisfies (keyof typeof SIGNALS)[];

interface Request extends MigrationOptions {
  readonly keep: boolean;
  readonly help: boolean;
  readonly inside: boolean;
}

/** Somebody wants it to end. Everything that waits throws this. */
class Interrupted extends Error {
  readonly exitCode: number;

  constructor(what: string, exitCode = 1) {
    super(what);
    this.exitCode = exitCode;
  }
}

/** It is to end because of a signal. */
class Signalled extends Interrupted {
  readonly signal: keyof typeof SIGNALS;

  constructor(signal: keyof typeof SIGNALS) {
    super(`ended by ${signal}`, 128 + SIGNALS[signal]);
    this.signal = signal;
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
        chain: { type: 'string' },
        keep: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
        // For runInNamespaces alone, and no part of what is promised.
        inside: { type: 'boolean', default: false },
      },
    });
    const sizeBytes = parseSizeBytes(values.size);
    if (sizeBytes === undefined)
      return `--size ${values.size}: not a size; write 64KiB, 256MiB, 1.5GiB or bytes`;
    if (!/^\d{1,6}$/.test(values.files)) return `--files ${values.files}: not a number from 0 to 999999`;
    const generation = GENERATIONS.find((known) => known === values.generation);
    if (generation === undefined)
      return `--generation ${values.generation}: not one of ${GENERATIONS.join(', ')}`;
    const chain = values.chain === undefined ? undefined : parseChain(values.chain);
    if (typeof chain === 'string') return chain;
    const { keep, help, inside, relay } = values;
    if (inside && process.pid !== 1) return '--inside is for spliceway itself';
    return {
      sizeBytes,
      files: Number(values.files),
      generation,
      keep,
      help,
      inside,
      ...(chain === undefined ? {} : { chain }),
      ...(relay === undefined ? {} : { relay }),
    };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

// All of them, so that those that are missing are named together and before anything is started.
function programsFor(
  chain: readonly ProxyKind[],
): Record<keyof (typeof MIGRATION_PROGRAMS & typeof LINE_PROGRAMS), ProgramNeed> {
  return { ...MIGRATION_PROGRAMS, ...LINE_PROGRAMS, ...(chain.includes('squid') ? SQUID_PROGRAMS : {}) };
}

function interruptOnSignals(interruption: AbortController): () => void {
  const listeners = SIGNAL_NAMES.map((signal) => {
    const listener = (): void => interruption.abort(new Signalled(signal));
    process.on(signal, listener);
    return () => process.off(signal, listener);
  });
  // `spliceway rehearse | head` closes our standard output: that must not leave the programs running.
  const closed = (): void => interruption.abort(new Interrupted('standard output was closed'));
  process.stdout.on('error', closed);
  return () => {
    for (const remove of listeners) remove();
    process.stdout.off('error', closed);
  };
}

// In the namespaces, of the command that was called: its signals reach it and not us.
function interruptFromOutside(interruption: AbortController): () => void {
  return followOutside((line) => {
    const signal = SIGNAL_NAMES.find((name) => name === line);
    interruption.abort(signal === undefined ? new Interrupted('the command is gone') : new Signalled(signal));
    // Nobody is there any more to notice that it takes so long; everything here ends with process 1.
    if (signal === undefined) setTimeout(() => process.exit(1), ALONE_AT_MOST_MS).unref();
  });
}

async function perform(workspace: Workspace, options: MigrationOptions): Promise<number> {
  const bar = new ProgressBar(process.stdout);
  const write = (line: string): unknown => process.stdout.write(`${line}\n`);
  write('A Direct Volume Migration on this machine');
  const migration = await migrate(workspace, options, {
    step: (what, detail) => write(`  ${what.padEnd(12)}${detail}`),
    progress: (progress) => bar.show(progress),
  }).finally(() => bar.done());
  for (const line of describeMigration(migration)) write(line);
  if (migration.source.sha256 === migration.destination.sha256) return 0;
  throw new RehearsalFailure('the destination differs from the source, although rsync reported success', {
    excerpts: await Promise.all(migration.row.map(({ party }) => party.child.excerpt())),
    remedy: 'Compare both trees: run again with --keep, then diff -r --no-dereference source destination.',
  });
}

function describeMigration({ source, destination, seconds, seen }: Migration): readonly string[] {
  const equal = source.sha256 === destination.sha256;
  return [
    `  ${'speed'.padEnd(12)}${formatBytes(source.contentBytes)} in ${seconds.toFixed(1)} s, ${(source.contentBytes / 1024 ** 2 / seconds).toFixed(1)} MiB/s`,
    `  ${'source'.padEnd(12)}sha256 ${source.sha256}`,
    `  ${'arrived'.padEnd(12)}sha256 ${destination.sha256} ${equal ? '(equal)' : '(DIFFERENT)'}`,
    ...seen.flatMap(({ name, lines }) => [
      '',
      `The tunnels as ${name} saw them`,
      ...lines.map((line) => `  ${line}`),
    ]),
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
