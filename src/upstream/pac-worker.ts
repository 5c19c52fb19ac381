import { parentPort, workerData } from 'node:worker_threads';
import { PacProxyAgent } from 'pac-proxy-agent';

/** What the thread is started with. */
export interface PacWorkerData {
  /** Where the file is: `pac+file://`, `pac+http://` or `pac+https://`. */
  readonly url: string;
  /** How often the thread says that it lives while it is asked something, in milliseconds: a file in an endless loop does not. */
  readonly aliveMs: number;
}

/** The URL to find proxies for. */
export interface PacQuestion {
  readonly id: number;
  readonly url: string;
}

/** What the thread says: that it lives, that the file is about to be run for a question, or the answer. */
export type PacWord =
  | { readonly alive: true }
  | { readonly begun: number }
  | ({ readonly id: number } & PacAnswer);

/** What the file says, `PROXY a:1; DIRECT`, or why it says nothing. */
export type PacAnswer =
  | { readonly result: string; readonly problem?: never }
  | { readonly result?: never; readonly problem: string };

/** How long what was read of the file is used before it is looked at again, in milliseconds. */
const FRESH_MS = 60_000;

type Find = Awaited<ReturnType<PacProxyAgent<string>['getResolver']>>;

/** The file, read when it is asked for and not fresh. What was read before serves while it cannot be read again. */
class PacFile {
  readonly #agent: PacProxyAgent<string>;
  #known: { readonly find: Find; readonly untilMs: number } | undefined;

  constructor(url: string) {
    this.#agent = new PacProxyAgent(url);
  }

  /** `FindProxyForURL`. */
  async load(): Promise<Find> {
    const known = this.#known;
    if (known !== undefined && performance.now() < known.untilMs) return known.find;
    const find = await this.#agent.getResolver().catch((error: unknown) => {
      if (known === undefined) throw error;
      return known.find;
    });
    this.#known = { find, untilMs: performance.now() + FRESH_MS };
    return find;
  }
}

/** The thread: whatever the file does, in an endless loop say, it does here, and the thread can be ended. */
function answerQuestions(
  port: NonNullable<typeof parentPort>,
  { url: fileUrl, aliveMs }: PacWorkerData,
): void {
  const say = (word: PacWord) => port.postMessage(word);
  const file = new PacFile(fileUrl);
  let open = 0;
  setInterval(() => open > 0 && say({ alive: true }), aliveMs);
  say({ alive: true });
  const find = async ({ id, url }: PacQuestion) => {
    const run = await file.load();
    say({ begun: id });
    return run(url);
  };
  port.on('message', (question: PacQuestion) => {
    const { id } = question;
    open += 1;
    find(question)
      .then(
        (result: unknown) => say({ id, result: String(result ?? '') }),
        (error: unknown) => say({ id, problem: error instanceof Error ? error.message : String(error) }),
      )
      .finally(() => {
        open -= 1;
      });
  });
}

if (parentPort !== null) answerQuestions(parentPort, workerData as PacWorkerData); // pac.ts starts it with that
