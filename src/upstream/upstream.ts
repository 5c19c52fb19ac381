import type { Socket } from 'node:net';
import type { DialTimings, TunnelError } from '../reasons.js';
import type { Route } from './parent.js';
import type { ParentHealth } from './parent-health.js';

/** What every dial of a process shares. Times are in milliseconds. */
export interface DialOptions {
  /** For DNS, all queries of a name together. */
  readonly dnsTimeoutMs: number;
  /** For one address. */
  readonly connectTimeoutMs: number;
  /** For each answer of a parent, which may have to reach the target first. */
  readonly parentTimeoutMs: number;
  /** For everything, parents and retries included. */
  readonly dialTimeoutMs: number;
  /** How long to go on trying after the first failure; 0: one try. */
  readonly dialRetryMs: number;
  /** The first that fits a target tells the ways to it; default none, which is direct. */
  readonly routes?: readonly Route[];
  /** Remembers which parents could not be reached; absent: none is remembered. */
  readonly parentHealth?: ParentHealth;
  /** Whether address and port are a listener of this very process: a parent that is one would be a loop. Default never. */
  readonly isOwnListener?: (address: string, port: number) => boolean;
  /** What this process calls itself in `Via` (RFC 9110 §7.6.3), so that it knows its own requests again; default: no `Via`. */
  readonly viaName?: string;
}

/** What one dial brings along. */
export interface DialRequest {
  /**
   * Vets each address before it is dialled, or named to a parent.
   *
   * @param address undefined: the name itself goes to a parent, which resolves it
   * @param name the name that has the address, search domain included
   * @returns undefined: it may
   */
  readonly judge: (address: string | undefined, name: string) => TunnelError | undefined;
  /**
   * What the connection is for. Of a parent that speaks HTTP, `tunnel` asks for one with CONNECT, and `request` asks nothing: the
   * caller sends its requests there in absolute-form. Default `tunnel`.
   */
  readonly for?: 'tunnel' | 'request';
  /** The entries of the client's `Via`, which a parent is told as well. Default none. */
  readonly via?: readonly string[];
}

/** A connection to what was asked for. */
export interface Upstream {
  /** Half-open capable, with an `error` listener; whoever receives it closes it. A `TLSSocket` where a parent is spoken to in TLS. */
  readonly socket: Socket;
  /** The target's IP address; undefined where a parent resolved its name. */
  readonly address: string | undefined;
  /** The parent that it leads through; undefined: it is direct. */
  readonly parent: UpstreamParent | undefined;
  /** How a request is to be sent on it: `absolute` (RFC 9112 §3.2.2) to a parent that was not asked for a tunnel. */
  readonly requestForm: 'origin' | 'absolute';
  readonly timings: DialTimings;
}

/** The parent of an {@link Upstream}. */
export interface UpstreamParent {
  /** `scheme://host:port`. */
  readonly name: string;
  /** The `Proxy-Authorization` that requests in absolute-form need; undefined: none. A secret. */
  readonly authorization?: string | undefined;
}
