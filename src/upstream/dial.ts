import type { Socket } from 'node:net';
import { type DialTimings, type Reason, TunnelError } from '../reasons.js';
import type { StopControl, StopSignal } from '../stop.js';
import { formatAuthority, type Target } from '../target.js';
import { raceAddresses } from './race.js';
import { resolveName } from './resolve.js';

/** The deadlines of a dial, in milliseconds. */
export interface DialOptions {
  /** For DNS, all queries of a name together. */
  readonly dnsTimeoutMs: number;
  /** For one address. */
  readonly connectTimeoutMs: number;
  /** For everything, retries included. */
  readonly dialTimeoutMs: number;
  /** How long to go on trying after the first failure; 0: one try. */
  readonly dialRetryMs: number;
}

/** Who vets addresses before they are dialled. */
interface Judged {
  /** @param name the name that has the address, search domain included */
  readonly judge: (address: string, name: string) => TunnelError | undefined;
}

/** A connection to what was asked for. */
export interface Upstream {
  /** Half-open capable, with an `error` listener; whoever receives it closes it. */
  readonly socket: Socket;
  /** The IP address dialled. */
  readonly address: string;
  readonly timings: DialTimings;
}

/** What a later try may change. */
const RETRIABLE: ReadonlySet<Reason> = new Set<Reason>([
  'dns_error',
  'dns_timeout',
  'connection_refused',
  'connection_terminated',
  'connection_timeout',
  'destination_ip_unroutable',
]);

const RETRY_DELAYS_MS = [100, 250, 500] as const;
const LAST_RETRY_DELAY_MS = 1000;

/**
 * Resolves the target once a try, keeps the addresses that `judge` lets pass, and races those. What is dialled is what was judged:
 * no name is resolved a second time.
 *
 * @param stop aborted when the client is gone or the server drains: everything under way is closed, and the signal's reason
 *   thrown. The dial aborts it itself when its time is up: a controller of its own for each dial would be dear.
 * @throws TunnelError the refusal of `judge` where it lets no address pass, otherwise the failure of the last try
 */
export async function dial(
  target: Target,
  { judge, ...options }: DialOptions & Judged,
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
  try {
    signal.throwIfAborted();
    for (let tries = 0; ; tries += 1) {
      try {
        return await dialOnce(target, { judge, ...options }, signal);
      } catch (error) {
        // The deadline cuts the last try short; how the one before it failed tells more.
        if (signal.aborted) throw failure ?? error;
        if (!(error instanceof TunnelError) || !RETRIABLE.has(error.reason)) throw error;
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

async function dialOnce(
  target: Target,
  { judge, ...options }: DialOptions & Judged,
  signal: StopSignal,
): Promise<Upstream> {
  const startedMs = performance.now();
  let dnsMs: number | undefined;
  let connectingMs: number | undefined;
  const timings = (): DialTimings => ({
    ...(dnsMs === undefined ? {} : { dnsMs }),
    ...(connectingMs === undefined ? {} : { connectMs: performance.now() - connectingMs }),
  });
  try {
    const { name, addresses } =
      target.family === 0
        ? await resolveName(target, options, signal)
        : { name: target.host, addresses: [target.host] };
    if (target.family === 0) dnsMs = performance.now() - startedMs;
    const judged = addresses.map((address) => ({ address, refusal: judge(address, name) }));
    const permitted = judged.filter(({ refusal }) => refusal === undefined).map(({ address }) => address);
    const refusal = judged[0]?.refusal;
    if (permitted.length === 0 && refusal !== undefined) throw refusal;
    connectingMs = performance.now();
    const connected = await raceAddresses(permitted, { ...options, port: target.port }, signal);
    return {
      socket: connected.socket,
      address: connected.address,
      timings: timings(),
    };
  } catch (error) {
    if (!(error instanceof TunnelError)) throw error;
    if (dnsMs !== undefined || target.family !== 0) throw error.withTimings(timings());
    dnsMs = performance.now() - startedMs;
    if (error.reason !== 'connection_timeout') throw error.withTimings(timings());
    // The deadline of the dial came before any address was known.
    throw new TunnelError('dns_timeout', {
      detail: error.message,
      remedy: error.remedy,
      timings: timings(),
      cause: error,
    });
  }
}
