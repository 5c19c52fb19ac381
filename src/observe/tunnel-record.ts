import type { DialTimings, TunnelError } from '../reasons.js';
import type { Target } from '../target.js';

/**
 * What is known of one request and its tunnel; it fills up on the way and is accounted exactly once, at the end. Every field is
 * there from the start: an object that grows takes twice the memory, and a tunnel may be idle for hours.
 */
export class TunnelRecord {
  readonly tunnelId: string;
  /** The client's IP address. */
  readonly clientAddress: string;
  readonly clientPort: number;
  user: string | undefined;
  target: Target | undefined;
  userAgent: string | undefined;
  /** The allow rule that matched, as written. */
  rule: string | undefined;
  /** Set once the policy has said yes. */
  allowed = false;
  /** Whether it has a place among the tunnels, to be given back at the end. */
  placed = false;
  /** The IP address dialled. */
  address: string | undefined;
  timings: DialTimings | undefined;
  /** Set when there is no tunnel. */
  refusal: TunnelError | undefined;
  /** Set when there was one. */
  relayed: RelayedTunnel | undefined;
  /** Set when the request was no CONNECT but for a URL. */
  forwarded: ForwardedRequest | undefined;

  constructor(tunnelId: string, clientAddress: string, clientPort: number) {
    this.tunnelId = tunnelId;
    this.clientAddress = clientAddress;
    this.clientPort = clientPort;
  }
}

/** The part of a record that a forwarded request has. */
export interface ForwardedRequest {
  readonly method: string;
  /**
   * The protocol that the connection has switched to, as it is configured, or until then the one that the client would like best;
   * undefined where there is no offer.
   */
  upgrade: string | undefined;
  /** Set once the origin has answered. */
  answered: { readonly status: number; readonly atMs: number } | undefined;
  /** When the exchange was over, in milliseconds of `performance.now`, and how; undefined where it became a tunnel, or failed. */
  ended: { readonly atMs: number; readonly cause: string; readonly bytes: ForwardedBytes } | undefined;
  /** In milliseconds of `performance.now`. */
  readonly startedMs: number;
}

/** Bytes on the connection to the origin, heads included; they move while the request lasts. */
export interface ForwardedBytes {
  readonly bytesUp: number;
  readonly bytesDown: number;
}

/** The tunnel part of a record. */
export interface RelayedTunnel {
  readonly engine: string;
  readonly bytes: LiveBytes;
  readonly openedMs: number;
  /** When it ended, in milliseconds of `performance.now`, and how. */
  ended: { readonly atMs: number; readonly cause: string } | undefined;
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
