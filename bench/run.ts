import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { chart } from './chart.js';
import { type Contender, SHARED_MEMORY } from './contenders.js';
import { machine } from './machine.js';
import { LOOPBACK, makeNamespaces } from './network.js';
import { help, type Options, parseOptions, UsageError } from './options.js';
import { BenchError, Processes, UNPRIVILEGED } from './processes.js';
import { Results } from './results.js';
import { runRounds } from './rounds.js';
import { FULL, QUICK } from './sizes.js';
import { LOAD, LOAD_THREADS } from './stage.js';
import { describeSetup } from './start-contender.js';
import { type Report, table } from './table.js';
import { judge } from './targets.js';

/** A contender that is here, with its version. */
interface Present {
  readonly contender: Contender;
  readonly version: string;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const wrongUse = error instanceof UsageError;
  const expected = wrongUse || error instanceof BenchError;
  process.stderr.write(`bench: ${error instanceof Error && expected ? error.message : String(error)}\n`);
  if (wrongUse) process.stderr.write('see npm run bench -- --help\n');
  process.exitCode = wrongUse ? 64 : 1;
}
// What is left to end ends in the handlers of `exit`.
process.exit();

async function main(argv: readonly string[]): Promise<number> {
  const options = parseOptions(argv);
  if (options === undefined) {
    process.stdout.write(help());
    return 0;
  }
  if (!existsSync(LOAD))
    throw new BenchError(`${LOAD} is missing: make -C bench (Debian: gcc make libc6-dev)`);
  const present = findContenders(options);
  if (options.verbose)
    for (const { contender } of present) progress(`\n== ${contender.name}\n${describeSetup(contender)}`);

  const processes = new Processes();
  const folder = mkdtempSync(join(tmpdir(), 'spliceway-bench-'));
  // Others than its owner walk through it to the folders of their own.
  chmodSync(folder, 0o711);
  process.on('exit', () => {
    processes.killAll();
    rmSync(folder, { recursive: true, force: true });
    for (const name of readdirSync('/dev/shm'))
      if (name.startsWith(SHARED_MEMORY)) rmSync(join('/dev/shm', name), { force: true });
  });
  const network = options.netns ? makeNamespaces() : LOOPBACK;
  process.on('exit', () => network.remove());

  const results = new Results();
  const report: Report = {
    results,
    trials: options.trials,
    contenders: present.map(({ contender }) => contender.name),
    facts: facts(options, present, network.name),
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => {
      writeFiles({ options, present, report });
      progress(`\nbench: interrupted; what was measured until now is in ${options.out}`);
      process.exit(128 + constants.signals[signal]);
    });
  await runRounds({
    theatre: { network, processes, folder, sizes: options.quick ? QUICK : FULL },
    trials: options.trials,
    contenders: present.map(({ contender }) => contender),
    rounds: options.rounds,
    results,
    progress,
    afterRound: () => writeFiles({ options, present, report }),
  });
  process.stdout.write(table(report));
  progress(`\nwritten: results.json, table.md and chart.svg in ${options.out}`);
  for (const { trial, contender, error } of results.failures)
    progress(`FAILED: ${trial}, ${contender}: ${error}`);
  return results.failures.length === 0 ? 0 : 1;
}

/** Says loudly who is absent. */
function findContenders({ contenders, requireAll }: Options): Present[] {
  const present: Present[] = [];
  const absent: string[] = [];
  for (const contender of contenders) {
    try {
      present.push({ contender, version: contender.version() });
    } catch (error) {
      absent.push(
        `${contender.name} is ABSENT and is not measured: ${error instanceof Error ? error.message : error}`,
      );
    }
  }
  for (const line of absent) progress(`bench: ${line}`);
  if (requireAll && absent.length > 0) throw new BenchError('--require-all: a contender is absent');
  if (present.length === 0) throw new BenchError('nobody is left to be measured');
  return present;
}

function facts(options: Options, present: readonly Present[], network: string): string[] {
  const { kernel, cpu, cores, memoryGiB, node, pipeUserPagesSoft } = machine();
  const user = process.getuid?.();
  return [
    ...(options.quick ? ['**--quick: these figures mean nothing**'] : []),
    `Linux ${kernel}, ${cores} × ${cpu}, ${memoryGiB} GiB, Node.js ${node}`,
    `network: ${network}; rounds: ${options.rounds}; threads of the client and of the server, which share the cores with the proxy: ${LOAD_THREADS} each`,
    user === 0
      ? `contenders run as user ${UNPRIVILEGED} without capabilities; fs.pipe-user-pages-soft is ${pipeUserPagesSoft}`
      : `contenders run as user ${user}, who runs the bench; fs.pipe-user-pages-soft is ${pipeUserPagesSoft}`,
    ...present.map(({ contender, version }) => `\`${contender.name}\`: ${version}`),
  ];
}

interface Output {
  readonly options: Options;
  readonly present: readonly Present[];
  readonly report: Report;
}

function writeFiles({ options, present, report }: Output): void {
  const json = {
    machine: machine(),
    network: options.netns ? 'namespaces' : 'loopback',
    sizes: options.quick ? QUICK : FULL,
    contenders: present.map(({ contender, version }) => ({
      name: contender.name,
      version,
      setup: describeSetup(contender),
    })),
    targets: judge(report.results),
    trials: report.results.records,
  };
  mkdirSync(options.out, { recursive: true });
  writeFileSync(join(options.out, 'results.json'), `${JSON.stringify(json, null, 2)}\n`);
  writeFileSync(join(options.out, 'table.md'), table(report));
  writeFileSync(join(options.out, 'chart.svg'), chart(report));
}

function progress(line: string): void {
  process.stderr.write(`${line}\n`);
}
