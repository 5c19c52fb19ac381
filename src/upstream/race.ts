import { connect, isIPv6, type Socket } from 'node:net';
import { type Reason, TunnelError } from '../reasons.js';
import type { StopSignal } from '../stop.js';
import { formatAuthority } from '../target.js';

/** How long a connection attempt is given before the next address is tried beside it (RFC 8305 §5: 250 ms). */
export const ATTEMPT_DELAY_MS = 250;

/** So many addresses of a name are tried at most: a name may have hundreds, and each attempt holds a descriptor. */
const MAX_ADDRESSES = 16;

/** What a race needs. */
export interface RaceOptions {
  readonly port: number;
  /** Deadline for one address, in milliseconds. */
  readonly connectTimeoutMs: number;
}

/** The attempt that won. */
export interface Connected {
  /** Connected, half-open capable, with an `error` listener; whoever receives it closes it. */
  readonly socket: Socket;
  readonly address: string;
}

/**
 * Connects to the first of these addresses that answers (Happy Eyeballs, RFC 8305): families take turns, an attempt that
 * fails starts the next at once, one that stays silent starts the next after {@link ATTEMPT_DELAY_MS}, and the first
 * connection closes the others.
 *
 * @param addresses at least one, in order of preference; all of them may be dialled
 * @param signal ends all attempts; the promise then rejects with the signal's reason
 * @throws TunnelError with the reason of the most telling failure
 */
export function raceAddresses(
  addresses: readonly string[],
  options: RaceOptions,
  signal: StopSignal,
): Promise<Connected> {
  return new Promise((resolve, reject) => {
    const waiting = interleaveFamilies(addresses).slice(0, MAX_ADDRESSES);
    const open = new Set<Socket>();
    const failures: Failure[] = [];
    let next: NodeJS.Timeout | undefined;

    const finish = (winner?: Socket) => {
      clearTimeout(next);
      signal.removeEventListener('abort', onAbort);
      for (const socket of open) if (socket !== winner) socket.destroy();
      open.clear();
    };
    const onAbort = () => {
      finish();
      reject(signal.reason);
    };
    const start = () => {
      clearTimeout(next);
      const address = waiting.shift();
      if (address === undefined) {
        if (open.size > 0) return;
        finish();
        reject(combine(failures, options.port));
        return;
      }
      const socket = attempt(address, options);
      open.add(socket);
      const failed = (error: NodeJS.ErrnoException) => {
        // A loser that the winner closed has nothing more to say.
        if (!open.delete(socket)) return;
        socket.destroy();
        failures.push({ address, reason: reasonOf(error.code), code: error.code ?? error.message });
        start();
      };
      socket.on('error', failed);
      socket.setTimeout(options.connectTimeoutMs, () =>
        failed(Object.assign(new Error('timeout'), { code: 'ETIMEDOUT' })),
      );
      socket.once('connect', () => {
        if (!open.has(socket)) return;
        socket.setTimeout(0);
        socket.removeAllListeners('timeout');
        // The winner outlives the race by hours: its listener must not keep the race in memory.
        socket.off('error', failed).on('error', ignore);
        finish(socket);
        resolve({ socket, address });
      });
      if (waiting.length > 0) next = setTimeout(start, ATTEMPT_DELAY_MS);
    };

    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    signal.addEventListener('abort', onAbort);
    start();
  });
}

/** Lets the families take turns, beginning with that of the first address (RFC 8305 §4). */
export function interleaveFamilies(addresses: readonly string[]): string[] {
  if (addresses.length === 1) return [...addresses];
  const first = addresses.filter((address) => isIPv6(address) === isIPv6(addresses[0] ?? ''));
  const second = addresses.filter((address) => !first.includes(address));
  const turns: string[] = [];
  for (let i = 0; i < Math.max(first.length, second.length); i += 1) {
    turns.push(...first.slice(i, i + 1), ...second.slice(i, i + 1));
  }
  return turns;
}

function ignore(): void {}

interface Failure {
  readonly address: string;
  readonly reason: Reason;
  readonly code: string;
}

function attempt(host: string, options: RaceOptions): Socket {
  return connect({
    host,
    port: options.port,
    allowHalfOpen: true,
    autoSelectFamily: false,
  });
}

/** errno of connect(2) and socket(2) to reason; what is not listed leaves the host unreachable as far as we know. */
const REASON_OF_CODE: Readonly<Record<string, Reason>> = {
  ECONNREFUSED: 'connection_refused',
  ECONNRESET: 'connection_terminated',
  ETIMEDOUT: 'connection_timeout',
  EMFILE: 'resources_exhausted',
  ENFILE: 'resources_exhausted',
  ENOBUFS: 'resources_exhausted',
  ENOMEM: 'resources_exhausted',
  EADDRNOTAVAIL: 'resources_exhausted',
  EAGAIN: 'resources_exhausted',
};

function reasonOf(code: string | undefined): Reason {
  return REASON_OF_CODE[code ?? ''] ?? 'destination_ip_unroutable';
}

/** Our own lack first, then what came closest to a connection. */
const MOST_TELLING: readonly Reason[] = [
  'resources_exhausted',
  'connection_terminated',
  'connection_refused',
  'connection_timeout',
  'destination_ip_unroutable',
];

function combine(failures: readonly Failure[], port: number): TunnelError {
  const reason = MOST_TELLING.find((candidate) => failures.some((failure) => failure.reason === candidate));
  const detail = failures
    .map((failure) => `${formatAuthority(failure.address, port)} ${failure.code}`)
    .join(', ');
  return new TunnelError(reason ?? 'destination_ip_unroutable', { detail });
}
