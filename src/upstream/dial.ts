import { type ParentDial, type Reason, TunnelError } from '../reasons.js';
import type { StopControl, StopSignal } from '../stop.js';
import { formatAuthority, type Target } from '../target.js';
import { attemptOnce } from './attempt.js';
import { DialClock } from './dial-clock.js';
import { ParentAnswer } from './parent.js';
import type { DialOptions, DialRequest, Upstream } from './upstream.js';

export type { DialOptions, DialRequest, Upstream } from './upstream.js';

/** What a later try may change. */
const RETRIABLE: ReadonlySet<Reason> = new Set<Reason>([
  'dns_error',
  'dns_timeout',
  'connection_refused',
  'connection_terminated',
  'connection_timeout',
  'destination_ip_unroutable',
  'parent_unreachable',
  'parent_timeout',
  'parent_refused',
  'parent_protocol_error',
  'parent_unknown',
]);

const RETRY_DELAYS_MS = [100, 250, 500] as const;
const LAST_RETRY_DELAY_MS = 1000;

/**
 * Reaches the target on the first way that leads there: directly, where it is resolved once a try and what is dialled is what `judge` let
 * pass, or through a parent.
 *
 * @param stop aborted when the client is gone or the server drains: everything under way is closed, and the signal's reason
 *   thrown. The dial aborts it itself when its time is up: a controller of its own for each dial would be dear.
 * @throws TunnelError the refusal of `judge` where it lets no address pass, otherwise the failure of the last try
 */
export async function dial(
  target: Target,
  options: DialOptions & DialRequest,
  stop: StopControl,
): Promise<Upstream> {
  const startedMs = performance.now();
  const { signal } = stop;
  let late: TunnelError | undefined;
  const timer = setTimeout(() => {
    late = tooLate(target, options.dialTimeoutMs);
    stop.abort(late);
  }, options.dialTimeoutMs);
  let failure: unknown;
  const parents: ParentDial[] = [];
  try {
    signal.throwIfAborted();
    for (let tries = 0; ; tries += 1) {
      try {
        return await attemptOnce(target, options, new DialClock(parents), signal);
      } catch (error) {
        // The deadline cuts the last try short; how the one before it failed tells more.
        if (signal.aborted) throw failure ?? error;
        if (!(error instanceof TunnelError) || !isRetriable(error)) throw error;
        failure = error;
      }
      if (performance.now() - startedMs >= options.dialRetryMs) throw failure;
      const delayMs = RETRY_DELAYS_MS[tries] ?? LAST_RETRY_DELAY_MS;
      await sleepUnless(signal, delayMs);
      if (signal.aborted) throw failure;
    }
  } catch (error) {
    if (signal.reason !== late) signal.throwIfAborted();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function sleepUnless(signal: StopSignal, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const wake = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', wake);
      resolve();
    };
    const timer = setTimeout(wake, ms);
    signal.addEventListener('abort', wake);
  });
}

function tooLate(target: Target, dialTimeoutMs: number): TunnelError {
  return new TunnelError('connection_timeout', {
    detail: `${formatAuthority(target.host, target.port)} was not reached within ${dialTimeoutMs / 1000} s`,
    remedy: 'check DNS, and firewalls on the way, or raise --dial-timeout',
  });
}

/** Whether a later try may end otherwise. A parent that says no for good, a 403 say, would say it again. */
function isRetriable({ reason, cause }: TunnelError): boolean {
  return RETRIABLE.has(reason) && !(cause instanceof ParentAnswer && cause.status < 500);
}
