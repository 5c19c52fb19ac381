import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile } from 'node:fs/promises';

import { type Excerpt, RehearsalFailure } from './failure.js';
import { poll } from './poll.js';
import { isListening, processesWith } from './processes.js';

/** What to start. `environment` is the whole environment: nothing of the user's is inherited. */
export interface ChildCommand {
  readonly name: string;
  readonly file: string;
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly logFile: string;
  readonly signal: AbortSignal;
}

/** How a program ended: exactly one of the two is set. */
export interface ChildExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/**
 * A program that runs for the rehearsal. Its stdout and stderr are appended to its log file: a file and not a pipe,
 * because Node's pipes are sockets, and stunnel and rsync cannot open `/dev/stdout` when that is a socket.
 *
 * It leads a process group of its own, so that Ctrl-C reaches the rehearsal alone, which then stops everything in
 * order. Who starts one closes it with `stop()`.
 */
export class Child {
  readonly name: string;
  readonly logFile: string;
  /** Of the program that was started; one that has detached itself goes on as another. */
  readonly pid: number;
  readonly #signal: AbortSignal;
  readonly #ended: Promise<ChildExit>;
  #exit: ChildExit | undefined;

  /** Starts the program. Throws what spawn(2) says when it cannot be started. */
  static async start(command: ChildCommand): Promise<Child> {
    command.signal.throwIfAborted();
    const log = await open(command.logFile, 'a', 0o600);
    try {
      const started = spawn(command.file, command.args, {
        env: { ...command.environment, [MARK]: command.logFile },
        stdio: ['ignore', log.fd, log.fd],
        detached: true,
      });
      const spawned = once(started, 'spawn');
      const child = new Child(command, started);
      await spawned;
      return child;
    } finally {
      await log.close();
    }
  }

  private constructor(command: ChildCommand, started: ChildProcess) {
    this.name = command.name;
    this.logFile = command.logFile;
    // 0 where it could not be started: then nobody gets to see it.
    this.pid = started.pid ?? 0;
    this.#signal = command.signal;
    this.#ended = new Promise((resolve) => {
      started.once('exit', (code, signal) => {
        this.#exit = { code, signal };
        resolve(this.#exit);
      });
    });
  }

  /** How it ended, `undefined` while it runs. */
  get exit(): ChildExit | undefined {
    return this.#exit;
  }

  /** Everything that it has written so far. */
  log(): Promise<string> {
    return readFile(this.logFile, 'utf8');
  }

  /** The last lines of its log that match, for a failure's report. */
  async excerpt(pattern = /\S/, maximum = 12): Promise<Excerpt> {
    const lines = (await this.log()).split(/[\r\n]+/).filter((line) => pattern.test(line));
    return { program: this.name, lines: lines.slice(-maximum) };
  }

  /**
   * Waits until `look` sees something and returns that. Throws `RehearsalFailure` when the program fails first, or
   * after `timeoutMs`; throws the signal's reason when the rehearsal is interrupted. A program that ends with code 0
   * may have gone into the background, where it is still looked for.
   */
  async until<Seen>(
    what: string,
    look: () => Promise<Seen | undefined>,
    timeoutMs = READY_WITHIN_MS,
  ): Promise<Seen> {
    const seen = await poll(
      async () => {
        const failed = this.#exit !== undefined && this.#exit.code !== 0;
        // Looked at once more after the end: the last thing it wrote may be what is awaited.
        const value = await look();
        return value !== undefined ? { value } : failed ? { value } : undefined;
      },
      { timeoutMs, signal: this.#signal },
    );
    if (seen?.value !== undefined) return seen.value;
    const how =
      this.#exit === undefined ? `was not there after ${timeoutMs / 1000} s` : describeExit(this.#exit);
    throw new RehearsalFailure(`${this.name} ${how}, awaited: ${what}`, {
      excerpts: [await this.excerpt()],
      remedy: `The lines above say why. Run again with --keep to read ${this.name}'s whole log and configuration.`,
    });
  }

  /** Waits until it listens on this port. Throws as `until` does. */
  async untilListening(port: number): Promise<void> {
    await this.until(`listening on port ${port}`, async () =>
      (await isListening(await this.#processes(), port)) ? true : undefined,
    );
  }

  /** Waits until its log matches. Throws as `until` does. */
  untilLogged(pattern: RegExp, timeoutMs?: number): Promise<RegExpExecArray> {
    return this.until(
      `${pattern} in its log`,
      async () => pattern.exec(await this.log()) ?? undefined,
      timeoutMs,
    );
  }

  /** Waits for its end, however long that takes. */
  ended(): Promise<ChildExit> {
    return this.#ended;
  }

  /** Ends it and every process that came of it: SIGTERM, and SIGKILL for what is left after `graceMs`. */
  async stop(graceMs = 3_000): Promise<void> {
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      for (const pid of await this.#processes()) sendSignal(pid, signal);
      const gone = await poll(async () => ((await this.#processes()).length === 0 ? true : undefined), {
        timeoutMs: graceMs,
      });
      if (gone) break;
    }
    // It is dead: this only waits until Node has noticed.
    await this.#ended;
  }

  #processes(): Promise<readonly number[]> {
    return processesWith(MARK, this.logFile);
  }
}

/** How a program ended, as part of a sentence: `ended with code 5`. */
export function describeExit({ code, signal }: ChildExit): string {
  return signal === null ? `ended with code ${code}` : `was ended by ${signal}`;
}

// In the environment of a program and of all that comes of it; its log file is its alone on this machine.
const MARK = 'REHEARSAL_LOG';

const READY_WITHIN_MS = 15_000;

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended by itself meanwhile.
  }
}
