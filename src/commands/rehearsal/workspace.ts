import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Child } from './child.js';
import { type Place, THIS_MACHINE } from './place.js';
import type { MigrationPrograms } from './programs.js';

/**
 * The place of one rehearsal: a private temporary directory and every program that was started in it. `close()`
 * leaves nothing of either behind. Aborting `signal` makes everything that waits here throw the signal's reason.
 */
export class Workspace {
  readonly directory: string;
  readonly programs: MigrationPrograms;
  readonly signal: AbortSignal;
  /** Where `start()` starts programs. */
  readonly place: Place;
  readonly #children: Child[];

  /** Makes the directory (mode 0700, in the system's directory for temporary files). Who creates one closes it. */
  static async create(programs: MigrationPrograms, signal: AbortSignal): Promise<Workspace> {
    const directory = await mkdtemp(join(tmpdir(), 'spliceway-rehearsal-'));
    return new Workspace({ directory, programs, signal, place: THIS_MACHINE }, []);
  }

  private constructor(
    { directory, programs, signal, place }: Pick<Workspace, 'directory' | 'programs' | 'signal' | 'place'>,
    children: Child[],
  ) {
    this.directory = directory;
    this.programs = programs;
    this.signal = signal;
    this.place = place;
    this.#children = children;
  }

  /** The same workspace, seen from another place. Closing the one it came of stops what is started here, too. */
  at(place: Place): Workspace {
    return new Workspace({ ...this, place }, this.#children);
  }

  /** The absolute path of something in the directory. */
  path(...names: readonly string[]): string {
    return join(this.directory, ...names);
  }

  /** Writes a file that only its owner may read (configurations contain passwords) and returns its path. */
  async write(name: string, text: string): Promise<string> {
    await writeFile(this.path(name), text, { mode: 0o600 });
    return this.path(name);
  }

  /**
   * Starts a program, which `close()` will stop. Its log is `<name>.log`, `<name>-2.log` for the second of that
   * name, and so on. It gets a small environment of its own and `environment`, so that nothing in the user's (a
   * proxy, a locale, an option) changes what is rehearsed.
   */
  async start(
    name: string,
    file: string,
    args: readonly string[],
    environment: Readonly<Record<string, string>> = {},
  ): Promise<Child> {
    const nth = this.#children.filter((other) => other.name === name).length + 1;
    const [program = file, ...argv] = [...this.place.enter, file, ...args];
    const child = await Child.start({
      name,
      file: program,
      args: argv,
      environment: {
        PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        LC_ALL: 'C',
        ...environment,
      },
      logFile: this.path(`${name.replaceAll(' ', '-')}${nth === 1 ? '' : `-${nth}`}.log`),
      signal: this.signal,
    });
    this.#children.push(child);
    return child;
  }

  /** The logs of all programs that were started under this name, in that order. */
  logs(name: string): Promise<readonly string[]> {
    return Promise.all(this.#children.filter((child) => child.name === name).map((child) => child.log()));
  }

  /** Stops every program, the last started first, and removes the directory unless it is to be kept. */
  async close({ keep = false } = {}): Promise<void> {
    for (const child of this.#children.splice(0).reverse()) await child.stop();
    if (!keep) await rm(this.directory, { recursive: true, force: true });
  }
}
