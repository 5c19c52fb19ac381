import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { RehearsalFailure } from './failure.js';

/**
 * Runs `spliceway rehearse` once more, as process 1 of namespaces of its own (processes, network, mounts; and users,
 * for whom is not root): whatever it starts or mounts there ends with it, and the machine's network is not touched.
 *
 * When `signal` is aborted, `describe` says of the reason what the process inside is told through its standard input;
 * the end of that input tells it that this process is gone, however that came about.
 *
 * @param unshare unshare(1)
 * @returns its exit code
 * @throws RehearsalFailure where the system allows no namespaces
 */
export async function runInNamespaces(
  argv: readonly string[],
  options: {
    readonly unshare: string;
    readonly signal: AbortSignal;
    readonly describe: (reason: unknown) => string;
  },
): Promise<number> {
  const { unshare, signal, describe } = options;
  const namespaces = await possibleNamespaces(unshare, signal);
  const child = spawn(
    unshare,
    [
      ...[...namespaces, process.execPath, fileURLToPath(new URL('../../cli.js', import.meta.url))],
      ...['rehearse', '--inside', ...argv],
    ],
    // A session of its own: Ctrl-C reaches this process alone, which tells the other one.
    { stdio: ['pipe', 'inherit', 'inherit'], detached: true },
  );
  const exited = once(child, 'exit');
  // It may have ended before it reads what it is told.
  child.stdin.on('error', () => {});
  const tell = (): void => {
    child.stdin.write(`${describe(signal.reason)}\n`);
  };
  signal.addEventListener('abort', tell);
  if (signal.aborted) tell();
  try {
    const [code, killed]: unknown[] = await exited;
    if (typeof code === 'number') return code;
    throw new RehearsalFailure(`the rehearsal in the namespaces was ended by ${String(killed)}`, {
      remedy:
        'Nothing of it is left running. Its directory may be: spliceway-rehearsal-… among the temporary files.',
    });
  } finally {
    signal.removeEventListener('abort', tell);
  }
}

/**
 * Calls back with each line that `runInNamespaces` writes, and with `undefined` when its process is gone.
 *
 * @returns what ends that
 */
export function followOutside(heard: (line: string | undefined) => void): () => void {
  const { stdin } = process;
  const onData = (data: Buffer): void => {
    for (const line of data.toString().split('\n')) if (line !== '') heard(line);
  };
  const onEnd = (): void => heard(undefined);
  stdin.on('data', onData).on('end', onEnd).on('error', onEnd);
  return () => {
    stdin.off('data', onData).off('end', onEnd).off('error', onEnd).pause();
  };
}

const NAMESPACES = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];

// Root does without a user namespace where it can: not every program is content with a single user.
async function possibleNamespaces(unshare: string, signal: AbortSignal): Promise<readonly string[]> {
  const withUser = [...NAMESPACES, '--user', '--map-root-user'];
  let problem = '';
  for (const namespaces of process.getuid?.() === 0 ? [NAMESPACES, withUser] : [withUser]) {
    try {
      await promisify(execFile)(unshare, [...namespaces, 'true'], { signal, timeout: 10_000 });
      return namespaces;
    } catch (error) {
      signal.throwIfAborted();
      // With this execFile rejects; without standard error where the program could not be started.
      const { stderr, message } = error as Error & { readonly stderr?: string };
      problem = stderr?.trim() || message;
    }
  }
  throw new RehearsalFailure(`--chain needs network namespaces, and may not make any: ${problem}`, {
    remedy:
      'Run it as root, or allow unprivileged user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0); in Docker, start the container with --privileged.',
  });
}
