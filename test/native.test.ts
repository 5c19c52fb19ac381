import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const SOURCE = fileURLToPath(new URL('../../test/native', import.meta.url));
const BUILD = fileURLToPath(new URL('../native-test', import.meta.url));
const SANITIZERS = ['address', 'thread'] as const;
/** Run at once, because each spends most of its time waiting: the parts of the tests, and for so many seconds the soak. */
const PROGRAMS = [
  ['relay-test', '1'],
  ['relay-test', '2'],
  ['relay-test', '3'],
  ['relay-soak', '8'],
] as const;
const LIMIT_MS = 240_000;

/** How a program ended, with what it printed. */
interface Outcome {
  readonly code: number | null;
  readonly output: string;
}

// As they may use each other's processor.
t.jobs = 2;

for (const sanitizer of SANITIZERS) {
  t.test(`the native core keeps its promises under the ${sanitizer} sanitizer`, async (t) => {
    const built = await run('make', ['--silent', '--jobs=2', '-C', SOURCE, `OUT=${BUILD}`, sanitizer]);
    if (
      !t.equal(built.code, 0, 'it builds, with gcc and make (Debian: apt-get install gcc make libc6-dev)')
    ) {
      t.comment(built.output);
      return;
    }
    const outcomes = await Promise.all(
      PROGRAMS.map(async ([program, argument]) => ({
        program: `${program} ${argument}`,
        ...(await runSanitized(`${BUILD}/${sanitizer}/${program}`, [argument])),
      })),
    );
    for (const { program, code, output } of outcomes) {
      const lines = output.split('\n');
      for (const line of lines) {
        const [, wrong, promise = 'without a name'] = /^(not )?ok \d+ - (.*)$/.exec(line) ?? [];
        if (/^(?:not )?ok\b/.test(line)) t.ok(wrong === undefined && line.startsWith('ok '), promise);
        else if (line.startsWith('# ')) t.comment(line.slice(2));
      }
      const plan = /^1\.\.(\d+)$/m.exec(output)?.[1];
      const promises = lines.filter((line) => line.startsWith('ok ')).length;
      t.equal(promises, Number(plan), `${program} came to its end`);
      if (!t.equal(code, 0, `${program} and the sanitizer found nothing wrong`))
        t.comment(output.slice(-8000));
    }
  });
}

/** ThreadSanitizer knows where memory may lie, and newer kernels scatter it further than older compilers expect. */
async function runSanitized(program: string, args: readonly string[]): Promise<Outcome> {
  const outcome = await run(program, args);
  if (!outcome.output.includes('unexpected memory mapping')) return outcome;
  return run('setarch', ['-R', program, ...args]);
}

async function run(program: string, args: readonly string[]): Promise<Outcome> {
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: LIMIT_MS,
    killSignal: 'SIGKILL',
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => {
      output += text;
    });
  }
  try {
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, output };
  } catch (error) {
    return { code: null, output: `${program}: ${error instanceof Error ? error.message : String(error)}` };
  }
}
