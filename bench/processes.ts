import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

/** Something that the reader of the message can understand: it is printed without a stack. */
export class BenchError extends Error {
  override readonly name = 'BenchError';
}

/** One line of the load generator: an event and its figures. */
export interface LoadEvent {
  readonly event: string;
  readonly [figure: string]: unknown;
}

/** What {@link Processes.start} starts. */
export interface Command {
  /** For messages. */
  readonly name: string;
  /** Program and arguments. */
  readonly argv: readonly string[];
  /** A program that enters a namespace and runs what follows. */
  readonly enter?: readonly string[];
  /** Run it as {@link UNPRIVILEGED} without capabilities, where this process may do so. */
  readonly unprivileged?: boolean;
  /** Added to a PATH and nothing else. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/**
 * The user and group of every contender where the bench runs as root, arbitrary like those that OpenShift gives: root and whoever
 * has CAP_SYS_RESOURCE or CAP_SYS_ADMIN is exempt from `/proc/sys/fs/pipe-user-pages-soft`, and no ordinary deployment is.
 */
export const UNPRIVILEGED = 1_000_660_000;

/** Descriptors of every process, hard and soft. */
export const DESCRIPTORS = 16_384;

/** How long a line that must come may take, in milliseconds. Longer than the load generator's own deadline, whose message is better. */
const DEADLINE_MS = 20_000;

/** Characters of standard error that are kept. */
const STDERR_MOST = 2000;

/** A running process; it dies with the bench, whatever ends that. */
export class Child {
  readonly name: string;
  readonly pid: number;
  readonly #process: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #events: LoadEvent[] = [];
  readonly #ended: Promise<void>;
  #stderr = '';
  #how: string | undefined;
  #wake = () => {};

  constructor(name: string, process: ChildProcessByStdio<Writable, Readable, Readable>) {
    this.name = name;
    this.pid = process.pid ?? 0;
    this.#process = process;
    process.stdin.on('error', () => {});
    process.stderr.on('data', (chunk: Buffer) => {
      this.#stderr = `${this.#stderr}${chunk.toString()}`.slice(-STDERR_MOST);
    });
    createInterface({ input: process.stdout }).on('line', (line) => {
      if (!line.startsWith('{')) return;
      this.#events.push(JSON.parse(line) as LoadEvent);
      this.#wake();
    });
    this.#ended = new Promise((resolve) => {
      const end = (how: string) => {
        this.#how ??= how;
        this.#wake();
        resolve();
      };
      process.on('error', (error) => end(error.message));
      process.on('close', (code, signal) => end(signal === null ? `exit code ${code}` : signal));
    });
  }

  /** Whether it still runs. */
  get running(): boolean {
    return this.#how === undefined;
  }

  /** What it said last on standard error, for messages. */
  get complaint(): string {
    return this.#stderr.trim();
  }

  /**
   * The figures of the next event of that name; earlier ones are dropped.
   *
   * @throws BenchError when the process ends first, or is silent for too long
   */
  async next(event: string, deadlineMs = DEADLINE_MS): Promise<LoadEvent> {
    const deadline = performance.now() + deadlineMs;
    for (;;) {
      const found = this.#events.shift();
      if (found?.event === event) return found;
      if (found !== undefined) continue;
      if (!this.running) throw this.failure(`ended before its ${event}`);
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) throw this.failure(`did not come to its ${event} within ${deadlineMs / 1000} s`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Writes a line to its standard input. */
  send(line: string): void {
    this.#process.stdin.write(`${line}\n`);
  }

  /** Ends its standard input. */
  end(): void {
    this.#process.stdin.end();
  }

  /** An error that says what it did and why. */
  failure(what: string): BenchError {
    const why = this.complaint || this.#how;
    return new BenchError(`${this.name} ${what}${why === undefined ? '' : `: ${why}`}`);
  }

  /** Ends it and its children at once; does nothing where it has ended. */
  kill(): void {
    // A number that is free again may be somebody else's.
    if (this.pid === 0 || !this.running) return;
    try {
      process.kill(-this.pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
  }

  /** Resolves once it has ended. */
  async ended(): Promise<void> {
    await this.#ended;
  }
}

/** All processes of the bench. */
export class Processes {
  readonly #children = new Set<Child>();

  /** Starts a process in a session of its own, with a limit of {@link DESCRIPTORS}. */
  start(command: Command): Child {
    // The limit is raised before the privilege to do so is given up.
    const limit = ['prlimit', `--nofile=${DESCRIPTORS}:${DESCRIPTORS}`];
    const [program = '', ...argv] = [
      ...(command.enter ?? []),
      ...limit,
      'setpriv',
      '--pdeathsig=KILL',
      ...(command.unprivileged && MAY_CHANGE_USER ? UNPRIVILEGE : []),
      ...command.argv,
    ];
    const child = spawn(program, argv, {
      cwd: command.cwd ?? '/',
      detached: true,
      env: { PATH: SYSTEM_PATH, LC_ALL: 'C.UTF-8', ...command.env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const started = new Child(command.name, child);
    this.#children.add(started);
    started.ended().then(() => this.#children.delete(started));
    return started;
  }

  /** Ends all of them; synchronous, so that an exit handler may call it. */
  killAll(): void {
    for (const child of this.#children) child.kill();
  }
}

/** Where programs are: Debian leaves the sbin folders out of the PATH of ordinary users. */
export const SYSTEM_PATH = `${process.env.PATH ?? '/usr/bin:/bin'}:/usr/local/sbin:/usr/sbin:/sbin`;

/** Root, and not of a user namespace that has no other user: user_namespaces(7). */
export const MAY_CHANGE_USER = process.getuid?.() === 0 && isMapped(UNPRIVILEGED);

function isMapped(user: number): boolean {
  return readFileSync('/proc/self/uid_map', 'latin1')
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/ +/).map(Number))
    .some(([first = 0, , count = 0]) => user >= first && user < first + count);
}

const UNPRIVILEGE = [
  `--reuid=${UNPRIVILEGED}`,
  `--regid=${UNPRIVILEGED}`,
  '--clear-groups',
  '--inh-caps=-all',
  '--bounding-set=-all',
  '--no-new-privs',
];
