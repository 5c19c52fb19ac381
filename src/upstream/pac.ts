import { Worker } from 'node:worker_threads';
import { TunnelError } from '../reasons.js';
import type { StopSignal } from '../stop.js';
import type { PacAnswer, PacQuestion, PacWord, PacWorkerData } from './pac-worker.js';
import { type PacWay, type Parent, parseParent, type Way } from './parent.js';

/** Until when an answer is wanted. */
export interface FindOptions {
  /** For reading the file, where it must be read, and running it; in milliseconds. */
  readonly connectTimeoutMs: number;
}

/**
 * Asks a PAC file which proxies lead to a URL.
 *
 * @returns the ways in their order; never empty
 * @throws TunnelError `parent_unknown` where the file cannot be read, fails, or takes too long; the signal's reason once aborted
 */
export async function findInPac(
  way: PacWay,
  url: string,
  { connectTimeoutMs }: FindOptions,
  signal: StopSignal,
): Promise<readonly Way[]> {
  let thread = threads.get(way);
  if (thread === undefined) {
    thread = new PacThread(way);
    threads.set(way, thread);
  }
  return parsePacResult(way, await thread.ask(url, connectTimeoutMs, signal));
}

/** A thread for each file, from its first question on. */
const threads = new WeakMap<PacWay, PacThread>();

interface Waiting {
  readonly url: string;
  readonly answer: (answer: PacAnswer) => void;
}

/** How often a thread says that it lives, in milliseconds. */
const ALIVE_MS = 250;
/** A thread that has not said for so many times {@link ALIVE_MS} that it lives runs without end. */
const MOST_SILENCES = 8;

/** Runs a PAC file in a thread of its own, which is replaced when it does not answer. It does not keep the process alive. */
class PacThread {
  readonly #way: PacWay;
  #worker: Worker | undefined;
  readonly #waiting = new Map<number, Waiting>();
  /** Questions that the file was run for, as far as they are open, in this order. */
  #begun: number[] = [];
  #lastId = 0;
  #silences = 0;
  #watch: NodeJS.Timeout | undefined;

  constructor(way: PacWay) {
    this.#way = way;
  }

  ask(url: string, timeoutMs: number, signal: StopSignal): Promise<string> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      this.#lastId += 1;
      const id = this.#lastId;
      const finish = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        this.#forget(id);
      };
      const onAbort = () => {
        finish();
        reject(signal.reason);
      };
      const timer = setTimeout(() => {
        finish();
        reject(unknown(this.#way, `it did not answer within ${timeoutMs / 1000} s`));
        // The file may be waited for in vain, and for all who ask.
        this.#restart();
      }, timeoutMs);
      signal.addEventListener('abort', onAbort);
      const answer = ({ result, problem }: PacAnswer) => {
        finish();
        if (result === undefined) reject(unknown(this.#way, problem));
        else resolve(result);
      };
      this.#waiting.set(id, { url, answer });
      if (this.#worker === undefined) this.#start();
      else this.#worker.postMessage({ id, url } satisfies PacQuestion);
      this.#watch ??= setInterval(() => this.#look(), ALIVE_MS);
    });
  }

  #forget(id: number): void {
    this.#waiting.delete(id);
    this.#begun = this.#begun.filter((other) => other !== id);
    if (this.#waiting.size > 0) return;
    clearInterval(this.#watch);
    this.#watch = undefined;
    this.#silences = 0;
  }

  #start(): void {
    const worker = new Worker(new URL('./pac-worker.js', import.meta.url), {
      workerData: { url: this.#way.url, aliveMs: ALIVE_MS } satisfies PacWorkerData,
      execArgv: [],
      env: {},
      // What the file says with alert() is not for our standard output.
      stdout: true,
      stderr: true,
    });
    this.#worker = worker;
    this.#begun = [];
    // It has all the time of its questions to come to life.
    this.#silences = Number.NEGATIVE_INFINITY;
    worker.stdout.resume();
    worker.stderr.resume();
    worker.on('message', (word: PacWord) => {
      if (this.#worker === worker) this.#hear(word);
    });
    const failed = (problem: string) => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      for (const { answer } of this.#waiting.values()) answer({ problem });
    };
    worker.on('error', (error) => failed(error.message));
    worker.on('exit', () => failed('its thread ended'));
    for (const [id, { url }] of this.#waiting) worker.postMessage({ id, url } satisfies PacQuestion);
    worker.unref();
  }

  #hear(word: PacWord): void {
    this.#silences = 0;
    if ('begun' in word) this.#begun.push(word.begun);
    else if ('id' in word) this.#waiting.get(word.id)?.answer(word);
  }

  /** Counted in looks, not in time: a thread is not silent while nobody has the time to hear it. */
  #look(): void {
    this.#silences += 1;
    if (this.#silences < MOST_SILENCES) return;
    const problem = 'it runs without end';
    const running = this.#waiting.get(this.#begun.at(-1) ?? 0);
    // Where it was not run for anybody, it does not come to an end of being read.
    for (const { answer } of running === undefined ? this.#waiting.values() : [running]) answer({ problem });
    this.#restart();
  }

  /** Who still waits is asked for again. */
  #restart(): void {
    const worker = this.#worker;
    this.#worker = undefined;
    void worker?.terminate();
    if (this.#waiting.size > 0) this.#start();
  }
}

/** The kinds of proxy in a PAC result, as pac-proxy-agent reads them; a SOCKS server resolves by itself. */
const SCHEMES: Readonly<Record<string, Parent['scheme']>> = {
  PROXY: 'http',
  HTTP: 'http',
  HTTPS: 'https',
  SOCKS: 'socks5h',
  SOCKS5: 'socks5h',
  SOCKS4: 'socks4a',
};

/** `PROXY a:1; HTTPS b:2; DIRECT`: ways in order; nothing at all means direct. What is no way is passed over, as browsers do. */
function parsePacResult(way: PacWay, text: string): readonly Way[] {
  const parts = text.split(';').map((part) => part.trim());
  const given = parts.filter((part) => part !== '');
  if (given.length === 0) return [{ kind: 'direct' }];
  const ways = given.flatMap((part): readonly Way[] => {
    if (part.toUpperCase() === 'DIRECT') return [{ kind: 'direct' }];
    const [type = '', place = ''] = part.split(/\s+/);
    const scheme = SCHEMES[type.toUpperCase()];
    const parent = scheme && parseParent(`${scheme}://${place}`, { http: 80, https: 443 });
    return parent === undefined || 'problem' in parent ? [] : [parent];
  });
  if (ways.length === 0) throw unknown(way, 'what it says is neither DIRECT nor a proxy');
  return ways;
}

function unknown({ name }: PacWay, problem: string): TunnelError {
  return new TunnelError('parent_unknown', { detail: `${name}: ${problem}` });
}
