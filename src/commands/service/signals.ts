import type { Logger } from 'pino';
import type { Metrics } from '../../observe/metrics.js';

/** From now on an error that nothing catches is counted and logged, and the process goes on: there may be tunnels of others. */
export function surviveErrors(metrics: Metrics, logger: Logger): void {
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (error: unknown) => {
      metrics.uncaughtError();
      logger.error(
        { event: 'uncaught', err: error },
        'an error that nothing caught; the tunnels go on. Please report it',
      );
    });
  }
}

/** Resolves with the first SIGTERM, SIGINT or SIGHUP; each further one calls back. */
export function firstSignal(onAnother: () => void): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let first: { readonly signal: NodeJS.Signals; readonly atMs: number } | undefined;
    const onSignal = (signal: NodeJS.Signals) => {
      const again =
        first !== undefined && (signal !== first.signal || performance.now() - first.atMs > SAME_WISH_MS);
      if (again) onAnother();
      first ??= { signal, atMs: performance.now() };
      resolve(signal);
    };
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, onSignal);
  });
}

/**
 * How far apart the same signal may come twice and be one wish, in milliseconds: whoever stops a process group or a control group
 * signals `npm start` as well as the proxy, and npm passes its own on.
 */
const SAME_WISH_MS = 1000;
