import { setTimeout as pause } from 'node:timers/promises';

/**
 * Looks again and again until `look` sees something other than `undefined`, and returns that; `undefined` when the
 * deadline (monotonic, in milliseconds from now) passes first. Throws the signal's reason when it is aborted.
 */
export async function poll<Seen>(
  look: () => Promise<Seen | undefined> | Seen | undefined,
  { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal?: AbortSignal },
): Promise<Seen | undefined> {
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    signal?.throwIfAborted();
    const seen = await look();
    if (seen !== undefined || performance.now() >= deadlineMs) return seen;
    await pause(INTERVAL_MS);
  }
}

const INTERVAL_MS = 20;
