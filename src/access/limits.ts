import { createHash } from 'node:crypto';
import { TunnelError } from '../reasons.js';

/** Counts wrong passwords by user name. */
export interface FailureThrottle {
  /**
   * Notes a failure.
   *
   * @returns 0 while the name is within its allowance, otherwise after how many seconds to try again
   */
  failed(name: string): number;
}

/** How many wrong passwords a name may send before they are throttled. */
export interface ThrottleOptions {
  /** Failures allowed within the window. Default 10. */
  readonly allowance?: number;
  /** Length of the window in milliseconds. Default 60 000. */
  readonly windowMs?: number;
  /** Names remembered at most; the longest unseen is forgotten first. Default 10 000. */
  readonly maxNames?: number;
  /** A monotonic clock in milliseconds. Default `performance.now`. */
  readonly now?: () => number;
}

/**
 * A throttle with a fixed window for each name. It never looks at addresses: a hundred volumes behind one NAT share theirs.
 * Its memory is bounded, whatever names a client makes up.
 */
export function createFailureThrottle(options: ThrottleOptions = {}): FailureThrottle {
  const { allowance = 10, windowMs = 60_000, maxNames = 10_000, now = () => performance.now() } = options;
  const windows = new Map<string, { readonly endsMs: number; failures: number }>();
  return {
    failed(name) {
      const nowMs = now();
      // A name may be some kilobytes long.
      const key = createHash('sha256').update(name).digest('base64');
      const known = windows.get(key);
      const window =
        known !== undefined && known.endsMs > nowMs ? known : { endsMs: nowMs + windowMs, failures: 0 };
      window.failures += 1;
      // Deleting first moves the name to the end of the map's insertion order, so that the first is the longest unseen.
      windows.delete(key);
      windows.set(key, window);
      const oldest = windows.keys().next();
      if (windows.size > maxNames && !oldest.done) windows.delete(oldest.value);
      return window.failures > allowance ? Math.ceil((window.endsMs - nowMs) / 1000) : 0;
    },
  };
}

/** How many tunnels, open or being dialled, there may be at once. 0 means no limit. */
export interface TunnelLimits {
  readonly maxTunnels: number;
  readonly maxTunnelsPerUser: number;
  readonly maxTunnelsPerClient: number;
}

/** Hands out places for tunnels. */
export interface TunnelSlots {
  /**
   * Takes a place.
   *
   * @param user undefined where nobody authenticates
   * @param client the client's IP address
   * @throws TunnelError `connection_limit_reached`, `user_limit_reached` or `client_limit_reached`
   */
  take(user: string | undefined, client: string): void;
  /** Gives a place back: once for each that was taken. */
  give(user: string | undefined, client: string): void;
}

/** Places for tunnels within these limits. */
export function createTunnelSlots(limits: TunnelLimits): TunnelSlots {
  let total = 0;
  const byUser = new Map<string, number>();
  const byClient = new Map<string, number>();
  return {
    take(user, client) {
      if (reached(total, limits.maxTunnels)) throw new TunnelError('connection_limit_reached');
      if (user !== undefined && reached(byUser.get(user) ?? 0, limits.maxTunnelsPerUser)) {
        throw new TunnelError('user_limit_reached');
      }
      if (reached(byClient.get(client) ?? 0, limits.maxTunnelsPerClient))
        throw new TunnelError('client_limit_reached');
      total += 1;
      if (user !== undefined) add(byUser, user, 1);
      add(byClient, client, 1);
    },
    give(user, client) {
      total -= 1;
      if (user !== undefined) add(byUser, user, -1);
      add(byClient, client, -1);
    },
  };
}

function reached(count: number, limit: number): boolean {
  return limit > 0 && count >= limit;
}

function add(counts: Map<string, number>, key: string, change: 1 | -1): void {
  const count = (counts.get(key) ?? 0) + change;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}
