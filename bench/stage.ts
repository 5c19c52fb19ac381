import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Contender, PASSWORD, USER } from './contenders.js';
import type { Network } from './network.js';
import { cpuSeconds, processTree, pssBytes, setCores } from './process-tree.js';
import { BenchError, type Child, type LoadEvent, type Processes } from './processes.js';
import type { Sizes } from './sizes.js';
import { startContender } from './start-contender.js';

/** The load generator. */
export const LOAD = fileURLToPath(new URL('load', import.meta.url));

const COLLECT_GARBAGE = fileURLToPath(new URL('collect-garbage.js', import.meta.url));

/** How long a client that ends by itself may take, in milliseconds: a proxy that falls behind catches up slowly. */
const RUN_MS = 60_000;

/** How long the inspector of a process may take to start, in milliseconds. */
const INSPECTOR_MS = 10_000;

/** Threads of each of its processes: with the proxy, it has to share the cores. */
export const LOAD_THREADS = Math.min(4, Math.max(1, Math.floor(availableParallelism() / 2)));

/**
 * The two servers of a trial: `common` does everything; `prompt` has nothing else to do than to answer, and does it with real-time
 * priority where the system permits, so that what is measured is the proxy's delay and not the wait for a core behind megabytes.
 */
export type Server = 'common' | 'prompt';

/** Where trials take place. */
export interface Theatre {
  readonly network: Network;
  readonly processes: Processes;
  readonly sizes: Sizes;
  /** A folder for the contenders' files; the caller removes it. */
  readonly folder: string;
}

/** What a process of the load generator has moved until a moment. */
export interface Mark {
  /** CLOCK_MONOTONIC, in nanoseconds. */
  readonly ns: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
  /** Received over each tunnel, newest first; a server's marks only. */
  readonly tunnels: readonly number[];
}

/** One trial: a contender that has just been started, both servers, and clients at will. `close` ends all of them. */
export class Stage {
  readonly sizes: Sizes;
  readonly #theatre: Theatre;
  readonly #contender: Contender;
  readonly #children: Child[] = [];
  readonly #serverPorts = { common: 0, prompt: 0 };
  #common: Child | undefined;
  /** A command that runs another on the core for clients; empty while the scheduler decides. */
  #onCore: readonly string[] = [];
  #proxy: { readonly child: Child; readonly ports: Readonly<Record<Server, number>> } | undefined;

  private constructor(theatre: Theatre, contender: Contender) {
    this.#theatre = theatre;
    this.#contender = contender;
    this.sizes = theatre.sizes;
  }

  /**
   * Starts everything and waits until the contender accepts connections.
   *
   * @throws BenchError when something does not come up
   */
  static async open(theatre: Theatre, contender: Contender): Promise<Stage> {
    const stage = new Stage(theatre, contender);
    try {
      await stage.#open();
      return stage;
    } catch (error) {
      await stage.close();
      throw error;
    }
  }

  async #open(): Promise<void> {
    const { network } = this.#theatre;
    const listen = ['--listen', `${network.listenAddress}:0`];
    this.#common = this.#load('serve', 'target', [...listen, '--threads', String(LOAD_THREADS)]);
    const prompt = this.#load('serve', 'target', [...listen, '--realtime', '1']);
    this.#serverPorts.common = Number((await this.#common.next('listening')).port);
    this.#serverPorts.prompt = Number((await prompt.next('listening')).port);
    this.#proxy = await startContender(this.#theatre, this.#contender, this.#serverPorts);
    if (this.#proxy === undefined) return;
    const { child } = this.#proxy;
    this.#children.push(child);
    const waiting = this.client('wait', 'common');
    // Nobody waits for one that has ended.
    child.ended().then(() => waiting.kill());
    try {
      await waiting.next('there');
    } catch (error) {
      throw child.running && child.complaint === '' ? error : child.failure('did not come up');
    }
  }

  /** Starts a client of the load generator at the source, with a route to a server. */
  client(subcommand: string, server: Server, options: Readonly<Record<string, number>> = {}): Child {
    const words = Object.entries(options).map(([name, value]) => [`--${name}`, String(value)]);
    return this.#load(subcommand, 'source', [...this.#route(server), ...words.flat()]);
  }

  /** Runs a client that ends by itself; resolves with its last event. */
  async run(
    subcommand: string,
    server: Server,
    options: Readonly<Record<string, number>>,
  ): Promise<LoadEvent> {
    const client = this.client(subcommand, server, options);
    const end = await client.next('end', RUN_MS);
    await client.ended();
    return end;
  }

  /**
   * Sends a stream both ways through so many tunnels at once and compares every byte.
   *
   * @throws BenchError where one is wrong or missing
   */
  async check(tunnels: number): Promise<void> {
    const bytes = Math.ceil(this.sizes.checkBytes / tunnels);
    const client = this.client('check', 'common', {
      tunnels,
      bytes,
      seed: Math.ceil(Math.random() * 2 ** 50),
    });
    await client.next('checked');
    await client.ended();
  }

  /** What the common server has moved so far. */
  async markServer(): Promise<Mark> {
    if (this.#common === undefined) throw new BenchError('there is no server');
    return mark(this.#common);
  }

  /** The common server sends no more, where it was told to send. */
  async stopServer(): Promise<void> {
    this.#common?.send('stop');
    await this.#common?.next('stopped');
  }

  /**
   * From now on servers and clients stay on the first core and the contender on the others. Where a message crosses cores or does not is
   * most of a round trip, and the scheduler would decide it anew for every process. Does nothing where there is one core.
   */
  separate(): void {
    const cores = availableParallelism();
    if (cores < 2) return;
    for (const child of this.#children)
      for (const pid of processTree(child.pid))
        setCores(pid, child === this.#proxy?.child ? `1-${cores - 1}` : '0');
    this.#onCore = ['taskset', '--cpu-list', '0'];
  }

  /** CPU time of the contender so far, in seconds; undefined where there is none. */
  cpuSeconds(): number | undefined {
    return this.#proxy && cpuSeconds(this.#proxy.child.pid);
  }

  /**
   * Has a contender that is a Node.js process collect its garbage, through its inspector (SIGUSR1 starts it). Megabytes of garbage come
   * and go as V8 likes, in which the few that tunnels keep could not be seen.
   */
  async collectGarbage(): Promise<void> {
    if (this.#proxy === undefined || this.#contender.node !== true) return;
    const { child } = this.#proxy;
    const url = /ws:\S+/;
    process.kill(child.pid, 'SIGUSR1');
    const deadline = performance.now() + INSPECTOR_MS;
    while (!url.test(child.complaint)) {
      if (!child.running || performance.now() > deadline) throw child.failure('did not start its inspector');
      await sleep(10);
    }
    const collector = this.#theatre.processes.start({
      name: 'collect-garbage',
      argv: [process.execPath, COLLECT_GARBAGE, url.exec(child.complaint)?.[0] ?? ''],
      enter: this.#theatre.network.enter('proxy'),
    });
    this.#children.push(collector);
    await collector.next('collected');
    await collector.ended();
  }

  /** Memory of the contender; undefined where there is none. */
  pssBytes(): number | undefined {
    return this.#proxy && pssBytes(this.#proxy.child.pid);
  }

  /**
   * Ends all processes of the trial.
   *
   * @throws BenchError where the contender had ended by itself
   */
  async close(): Promise<void> {
    const crashed =
      this.#proxy?.child.running === false ? this.#proxy.child.failure('ended in the trial') : undefined;
    for (const child of this.#children) child.kill();
    await Promise.all(this.#children.map((child) => child.ended()));
    if (crashed !== undefined) throw crashed;
  }

  #route(server: Server): string[] {
    const { proxyAddress, target } = this.#theatre.network;
    const port = this.#serverPorts[server];
    if (this.#proxy === undefined) return ['--target', `${target.fromSource}:${port}`];
    const hop = `${proxyAddress}:${this.#proxy.ports[server]}`;
    const route = ['--target', `${target.fromProxy}:${port}`];
    return this.#contender.speaks === 'connect'
      ? [...route, '--proxy', hop, '--auth', `${USER}:${PASSWORD}`]
      : [...route, '--via', hop];
  }

  #load(subcommand: string, place: 'source' | 'target', options: readonly string[]): Child {
    const { network, processes } = this.#theatre;
    const child = processes.start({
      name: `load ${subcommand}`,
      argv: [...this.#onCore, LOAD, subcommand, ...options],
      enter: network.enter(place),
    });
    this.#children.push(child);
    return child;
  }
}

/** What a process of the load generator has moved so far. */
export async function mark(child: Child): Promise<Mark> {
  child.send('mark');
  const { ns, received, sent, tunnels } = await child.next('mark');
  return {
    ns: Number(ns),
    receivedBytes: Number(received),
    sentBytes: Number(sent),
    tunnels: Array.isArray(tunnels) ? tunnels.map(Number) : [],
  };
}
