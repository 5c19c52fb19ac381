import type { Socket } from 'node:net';
import type { TunnelError } from '../reasons.js';
import { Stop } from '../stop.js';
import type { RequestControl } from './request.js';

/** The requests that are served, from their head to their end. */
export class Tunnels {
  readonly #open = new Set<ServedTunnel>();
  /** Takes a connection out of those that wait for a tunnel. */
  readonly #leave: (client: Socket) => void;
  #onDrained: (() => void)[] = [];
  /** Connections that have become tunnels; an engine may have taken their sockets. */
  relayed = 0;

  /** @param leave is told of each connection that has become a tunnel */
  constructor(leave: (client: Socket) => void) {
    this.#leave = leave;
  }

  get size(): number {
    return this.#open.size;
  }

  /** One more; it leaves when it says that it has ended. */
  begin(): RequestControl {
    const tunnel = new ServedTunnel(this);
    this.#open.add(tunnel);
    return tunnel;
  }

  onRelayed(client: Socket): void {
    this.relayed += 1;
    this.#leave(client);
  }

  onEnded(tunnel: ServedTunnel): void {
    if (tunnel.isRelayed) this.relayed -= 1;
    this.#open.delete(tunnel);
    if (this.#open.size > 0) return;
    for (const resolve of this.#onDrained) resolve();
    this.#onDrained = [];
  }

  /** Cuts all of them. */
  abort(reason: TunnelError): void {
    for (const { stop } of this.#open) stop.abort(reason);
  }

  /** Resolves when there is none. */
  async drained(): Promise<void> {
    while (this.#open.size > 0) await new Promise<void>((resolve) => this.#onDrained.push(resolve));
  }
}

/** One of them. It keeps no socket: an engine may have taken it. */
class ServedTunnel implements RequestControl {
  readonly stop = new Stop();
  isRelayed = false;
  readonly #tunnels: Tunnels;

  constructor(tunnels: Tunnels) {
    this.#tunnels = tunnels;
  }

  onRelayed(client: Socket): void {
    this.isRelayed = true;
    this.#tunnels.onRelayed(client);
  }

  onEnded(): void {
    this.#tunnels.onEnded(this);
  }
}
