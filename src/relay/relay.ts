import type { Socket } from 'node:net';
import type { StopSignal } from '../stop.js';

/**
 * The relay's contract, which every engine keeps and `test/relay-*.test.ts` holds every engine to:
 *
 * 1. Bytes read ahead of the relay are delivered first; then every byte in order, none added, none held back.
 * 2. End of file on one side shuts down the other side's write half, after the bytes before it, and nothing more:
 *    the other direction goes on.
 * 3. A reset on one side resets the other, after all that had arrived from that side has been delivered; also a reset that
 *    follows the side's own end of file. It never becomes an end of file.
 * 4. A reader that stalls stops the sender: memory stays bounded.
 * 5. What the relay itself ends (idle, half-close, abort) it resets on both sides: an end of file is never made up.
 * 6. The counters of {@link Traffic} are live and never decrease.
 * 7. The end is reported exactly once, with its cause, when both sockets are closed. The promise never rejects.
 */
export interface RelayEngine {
  readonly name: EngineName;
  /**
   * Relays until both halves are done. The relay owns both sockets from here on and closes them.
   *
   * @param signal aborts the tunnel: cause `aborted`
   */
  relay(tunnel: RelayTunnel, options: RelayOptions, signal: StopSignal): Relay;
  /** What the engine holds and has done, for the metrics; absent where there is nothing to tell. */
  readonly totals?: () => RelayTotals;
}

/** An engine, or the reason why this machine does not have it. */
export type EngineState =
  | { readonly engine: RelayEngine; readonly absent?: never }
  | { readonly engine?: never; readonly absent: string };

/** A tunnel that is being relayed. */
export interface Relay {
  /** The engine that moves it: another than asked where this tunnel cannot be moved by that one. */
  readonly engine: EngineName;
  readonly traffic: Traffic;
  readonly end: Promise<RelayEnd>;
}

/** What an engine that speaks to the kernel has done since it began, and holds now. */
export interface RelayTotals {
  /** Bytes by the way they took. */
  readonly splicedBytes: number;
  readonly copiedBytes: number;
  /** Pipes that hold bytes, or are about to; and empty ones kept for the next. */
  readonly pipesInUse: number;
  readonly pipesPooled: number;
  /** How often no pipe was to be had (tried at most once a second), or a socket could not be spliced, by cause. */
  readonly fallbacks: Readonly<Record<RelayFallback, number>>;
}

/** Why bytes were copied that could have been spliced: `pipe-user-pages-soft` is used up, no descriptors, not spliceable. */
export const RELAY_FALLBACKS = ['pipe_pages', 'descriptors', 'unsupported'] as const;

/** A member of {@link RELAY_FALLBACKS}. */
export type RelayFallback = (typeof RELAY_FALLBACKS)[number];

/** The engines, best first. */
export type EngineName = 'splice' | 'stream';

/** Two connected sockets, half-open capable, and what was already read from the client. */
export interface RelayTunnel {
  readonly client: Socket;
  readonly upstream: Socket;
  /** Bytes that came behind the CONNECT head; they reach the upstream first and count as traffic. */
  readonly early: Buffer;
  /** What the client is told before anything else: the 2xx. No traffic. */
  readonly reply: Buffer;
}

/** How long a tunnel may be silent, in milliseconds; 0: for ever. */
export interface RelayOptions {
  /** Silence on a side before its peer is probed (TCP keepalive); 0: never. Whole seconds. */
  readonly keepaliveMs: number;
  /** Without a byte in either direction. */
  readonly idleTimeoutMs: number;
  /** Without a byte in the direction that is left, once the other has ended. */
  readonly halfCloseTimeoutMs: number;
}

/** Bytes relayed so far: live while the tunnel runs, final afterwards. */
export interface Traffic {
  /** Client to upstream. */
  readonly bytesUp: number;
  /** Upstream to client. */
  readonly bytesDown: number;
  /** When the first byte of the upstream was read, in milliseconds of `performance.now`. */
  readonly firstByteAtMs: number | undefined;
  /** Whether the client has sent a completed TLS handshake and nothing more: what MTC's `nc -z` through stunnel leaves. */
  readonly handshakeOnly: boolean;
}

/** The causes of a tunnel's end; `client_fin` and `upstream_fin` name the side whose end of file came first. */
export const RELAY_CAUSES = [
  'client_fin',
  'upstream_fin',
  'client_reset',
  'upstream_reset',
  'client_timeout',
  'upstream_timeout',
  'idle_timeout',
  'half_close_timeout',
  'aborted',
] as const;

/** How a tunnel ended. */
export type RelayCause = (typeof RELAY_CAUSES)[number];

/** The one report of a tunnel's end. */
export interface RelayEnd {
  readonly cause: RelayCause;
}
