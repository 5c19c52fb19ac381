import { setTimeout as sleep } from 'node:timers/promises';
import type { Listener } from './listener.js';

/** How long the end may take, in milliseconds. */
export interface DrainOptions {
  /** Go on accepting for so long: load balancers need time to see that `/ready` says no. */
  readonly windowMs: number;
  /** After that, wait so long for tunnels to end. */
  readonly timeoutMs: number;
  /** Called every {@link PROGRESS_EVERY_MS} with the number of tunnels left. */
  readonly onProgress: (tunnels: number) => void;
}

const PROGRESS_EVERY_MS = 10_000;

/**
 * Ends a listener without cutting tunnels that end by themselves in time. The listening sockets are closed rather than
 * answered for: stunnel tries its next address when a connection is refused, not when it reads a 503.
 *
 * @param now ends the waiting at once
 * @returns how many tunnels had to be cut
 */
export async function drain(listener: Listener, options: DrainOptions, now: AbortSignal): Promise<number> {
  const progress = setInterval(() => options.onProgress(listener.tunnels), PROGRESS_EVERY_MS);
  try {
    await waitUnless(now, options.windowMs);
    listener.close();
    await Promise.race([listener.drained(), waitUnless(now, options.timeoutMs)]);
    const left = listener.tunnels;
    listener.cut();
    await listener.drained();
    return left;
  } finally {
    clearInterval(progress);
  }
}

async function waitUnless(now: AbortSignal, ms: number): Promise<void> {
  await sleep(ms, undefined, { signal: now }).catch(() => {});
}
