import type { DialTimings, TunnelError } from '../reasons.js';
import type { Target } from '../target.js';

/** What is known of one request and its tunnel; it fills up on the way and is accounted exactly once, at the end. */
export interface TunnelRecord {
  readonly tunnelId: string;
  /** `ip:port` of the client. */
  readonly client: string;
  /** The IP address in it. */
  readonly clientAddress: string;
  user?: string | undefined;
  target?: Target;
  userAgent?: string | undefined;
  /** The allow rule that matched, as written. */
  rule?: string | undefined;
  /** Set once the policy has said yes. */
  allowed?: boolean;
  /** `ip:port` dialled. */
  address?: string;
  timings?: DialTimings;
  /** Gives the place of the tunnel back. */
  release?: () => void;
  /** Set when there is no tunnel. */
  refusal?: TunnelError;
  /** Set when there was one. */
  relayed?: RelayedTunnel;
}

/** The tunnel part of a record. */
export interface RelayedTunnel {
  readonly engine: string;
  readonly bytes: LiveBytes;
  readonly openedMs: number;
  /** When it ended, in milliseconds of `performance.now`, and how. */
  ended?: { readonly atMs: number; readonly cause: string };
}

/** Counters that an engine moves while the tunnel runs. */
export interface LiveBytes {
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** In milliseconds of `performance.now`. */
  readonly firstByteAtMs: number | undefined;
  /** The client has sent a completed TLS handshake and nothing more. */
  readonly handshakeOnly: boolean;
}

/** A probe does not last, in milliseconds. */
const PROBE_MAX_MS = 5000;

/**
 * Whether a tunnel was a phantom: MTC runs `nc -z` against stunnel before every attempt, which makes a CONNECT, a TLS handshake
 * and a close, and no payload.
 */
export function isProbe({ bytes, openedMs, ended }: RelayedTunnel): boolean {
  return ended !== undefined && bytes.handshakeOnly && ended.atMs - openedMs <= PROBE_MAX_MS;
}
