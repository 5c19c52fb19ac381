import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { TunnelError } from '../reasons.js';
import { formatAuthority } from '../target.js';
import type { RequestControl, Stages } from './request.js';
import { Tunnels } from './tunnels.js';

/** Where to listen, and for how many. */
export interface ListenerOptions {
  /** Port 0 asks for one that is free. */
  readonly listen: readonly { readonly host: string; readonly port: number }[];
  /** Connections at most, those without a tunnel included; one more is closed at once. */
  readonly maxConnections: number;
}

/** What becomes of the connections that a listener accepts. */
export interface Reception {
  /** Owns the connection from here on, which has an `error` listener: what is wanted of it is admitted, or it is closed. */
  receive(client: Socket): void;
  /** Closes a connection that asks for nothing, so that another can be received. @returns false where there is none */
  makeRoom(): boolean;
  /** No more are accepted: closes every connection that waits for a request behind those it has had. */
  close(): void;
  /** Closes every connection that has not been admitted. */
  cut(): void;
}

/** Takes a request among those that a listener waits for; undefined once it is closed. */
export type Admit = () => RequestControl | undefined;

/** The listening sockets of the process and the connections they brought. */
export class Listener {
  readonly #servers: Server[] = [];
  readonly #bound: AddressInfo[] = [];
  /** Without a tunnel: their request is read, dialled for or refused. */
  readonly #connections = new Set<Socket>();
  readonly #tunnels = new Tunnels((client) => this.#connections.delete(client));
  readonly #options: ListenerOptions;
  readonly #observe: Pick<Stages, 'metrics' | 'logger'>;
  readonly #reception: Reception;
  #closed = false;

  /** @param receive makes what becomes of the connections */
  constructor(
    options: ListenerOptions,
    observe: Pick<Stages, 'metrics' | 'logger'>,
    receive: (admit: Admit) => Reception,
  ) {
    this.#options = options;
    this.#observe = observe;
    this.#reception = receive(() => (this.#closed ? undefined : this.#tunnels.begin()));
  }

  /**
   * Listens on every address, or on none.
   *
   * @throws Error of `listen(2)`, with the address in `address` and `port`
   */
  async open(): Promise<void> {
    try {
      for (const { host, port } of this.#options.listen) {
        const server = createServer({ allowHalfOpen: true });
        server.on('connection', (socket) => this.#accept(socket));
        this.#servers.push(server);
        server.listen({ host, port, ipv6Only: this.#sharesPort(host, port) });
        await once(server, 'listening');
        this.#bound.push(server.address() as AddressInfo); // A TCP server that listens has one.
        // accept(2) may fail later, for want of descriptors: libuv sheds load by itself, the server goes on.
        server.on('error', (error) =>
          this.#observe.logger.warn({ err: error }, 'a connection could not be accepted'),
        );
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** `[::]` takes the port for IPv4 as well, unless it is told that another listener has it. */
  #sharesPort(host: string, port: number): boolean {
    const others = this.#options.listen.filter((other) => !other.host.includes(':'));
    return host === '::' && port !== 0 && others.some((other) => other.port === port);
  }

  /** `ip:port` of every listening socket. */
  get addresses(): readonly string[] {
    return this.#bound.map(({ address, port }) => formatAuthority(address, port));
  }

  /** Tunnels open or being dialled. */
  get tunnels(): number {
    return this.#tunnels.size;
  }

  /** Whether a connection to this address would come back to this listener. */
  isOwn(address: string, port: number): boolean {
    return isBoundTo(this.#bound, address, port);
  }

  /** Accepts no more; what is connected stays. */
  close(): void {
    this.#closed = true;
    for (const server of this.#servers) server.close();
    this.#reception.close();
  }

  /** Resolves when every tunnel has ended and been accounted. */
  async drained(): Promise<void> {
    await this.#tunnels.drained();
  }

  /** Cuts every tunnel and closes every connection. {@link drained} tells when they are accounted. */
  cut(): void {
    const reason = new TunnelError('draining', {
      detail: 'the proxy is shutting down and does not wait any longer',
    });
    this.#tunnels.abort(reason);
    this.#reception.cut();
  }

  #accept(socket: Socket): void {
    // Before anything else: an unheard error would end the process, and with it everybody's tunnels.
    socket.on('error', () => {});
    this.#observe.metrics.connectionAccepted();
    const isFull = this.#connections.size + this.#tunnels.relayed >= this.#options.maxConnections;
    if (isFull && !this.#reception.makeRoom()) {
      this.#observe.metrics.connectionDropped('limit');
      socket.destroy();
      return;
    }
    this.#connections.add(socket);
    socket.on('close', () => this.#connections.delete(socket));
    this.#reception.receive(socket);
  }
}

/** Whether one of these bound sockets is what a connection to address and port reaches. */
export function isBoundTo(bound: readonly AddressInfo[], address: string, port: number): boolean {
  // As a destination, the unspecified address means loopback (Linux, ip(7)).
  const to = address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address;
  return bound
    .filter((own) => own.port === port)
    .map((own) => own.address.replace(/^::ffff:(?=[0-9.]+$)/, ''))
    .some((own) => own === to || (['0.0.0.0', '::'].includes(own) && isLocal(to)));
}

function isLocal(address: string): boolean {
  if (address.startsWith('127.')) return true;
  return Object.values(networkInterfaces()).some((addresses) =>
    addresses?.some((own) => own.address === address),
  );
}
