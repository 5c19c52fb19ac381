import { once } from 'node:events';
import { createServer as createParser, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { extendOpening, MAX_HEADER_BYTES, notConnect, parserFailure } from '../handshake/connect.js';
import { TunnelError } from '../reasons.js';
import { formatAuthority } from '../target.js';
import { refuse, type Stages } from './request.js';
import { type ConnectEvent, serveTunnel } from './tunnel.js';
import { Tunnels } from './tunnels.js';

/** Where to listen, and how long to wait for a request. */
export interface ListenerOptions {
  /** Port 0 asks for one that is free. */
  readonly listen: readonly { readonly host: string; readonly port: number }[];
  /** Absolute deadline from the accepted connection to the end of the request's head, in milliseconds. */
  readonly handshakeTimeoutMs: number;
  /** Connections at most, those without a tunnel included; one more is closed at once. */
  readonly maxConnections: number;
}

/** A connection whose request is being read. */
interface Handshake {
  readonly deadline: NodeJS.Timeout;
  /** What the connection began with. */
  opening: Buffer;
  readonly onData: (chunk: Buffer) => void;
}

const NOTHING = Buffer.alloc(0);

/** The listening sockets of the proxy and the connections they brought. */
export class Listener {
  readonly #servers: Server[] = [];
  readonly #bound: AddressInfo[] = [];
  /** Without a tunnel: their request is read, dialled for or refused. */
  readonly #connections = new Set<Socket>();
  readonly #tunnels = new Tunnels((client) => this.#connections.delete(client));
  readonly #options: ListenerOptions;
  readonly #stages: Stages;
  readonly #handshakes = new Map<Socket, Handshake>();
  #closed = false;

  /** @param stages what tunnels are made with */
  constructor(options: ListenerOptions, stages: Stages) {
    this.#options = options;
    this.#stages = stages;
  }

  /**
   * Listens on every address, or on none.
   *
   * @throws Error of `listen(2)`, with the address in `address` and `port`
   */
  async open(): Promise<void> {
    const parser = this.#createParser();
    try {
      for (const { host, port } of this.#options.listen) {
        const server = createServer({ allowHalfOpen: true });
        server.on('connection', (socket) => this.#accept(socket, parser));
        this.#servers.push(server);
        server.listen({ host, port, ipv6Only: this.#sharesPort(host, port) });
        await once(server, 'listening');
        this.#bound.push(server.address() as AddressInfo); // A TCP server that listens has one.
        // accept(2) may fail later, for want of descriptors: libuv sheds load by itself, the server goes on.
        server.on('error', (error) =>
          this.#stages.logger.warn({ err: error }, 'a connection could not be accepted'),
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
    for (const socket of this.#handshakes.keys()) socket.destroy();
  }

  #accept(socket: Socket, parser: ReturnType<typeof createParser>): void {
    // Before anything else: an unheard error would end the process, and with it everybody's tunnels.
    socket.on('error', () => {});
    this.#stages.metrics.connectionAccepted();
    if (this.#connections.size + this.#tunnels.relayed >= this.#options.maxConnections && !this.#makeRoom()) {
      this.#stages.metrics.connectionDropped('limit');
      socket.destroy();
      return;
    }
    this.#connections.add(socket);
    const deadline = setTimeout(() => this.#late(socket), this.#options.handshakeTimeoutMs);
    const handshake: Handshake = {
      deadline,
      opening: NOTHING,
      onData(chunk) {
        handshake.opening = extendOpening(handshake.opening, chunk);
      },
    };
    this.#handshakes.set(socket, handshake);
    socket.once('close', () => {
      this.#connections.delete(socket);
      if (this.#endHandshake(socket))
        this.#stages.metrics.connectionDropped(socket.bytesRead === 0 ? 'silent' : 'incomplete');
    });
    parser.emit('connection', socket);
    // Not before: the parser would then read behind the back of this listener. And ahead of the parser's own.
    socket.prependListener('data', handshake.onData);
  }

  /** Closes the connection that has been silent for longest: who says nothing must not keep out who does. */
  #makeRoom(): boolean {
    for (const socket of this.#handshakes.keys()) {
      // One that was closed a moment ago has made its room already.
      if (socket.bytesRead > 0 || socket.destroyed) continue;
      socket.destroy();
      return true;
    }
    return false;
  }

  /** @returns false where the handshake was over already */
  #endHandshake(socket: Socket): boolean {
    const handshake = this.#handshakes.get(socket);
    if (handshake === undefined) return false;
    clearTimeout(handshake.deadline);
    socket.off('data', handshake.onData);
    return this.#handshakes.delete(socket);
  }

  #late(socket: Socket): void {
    if (socket.bytesRead === 0) socket.destroy();
    else this.#refuse(socket, new TunnelError('request_timeout'));
  }

  /** Refuses a connection that Node's parser still holds: nothing behind the refused request is parsed. */
  #refuse(socket: Socket, error: TunnelError): void {
    if (!this.#endHandshake(socket)) return;
    for (const event of ['data', 'end', 'timeout', 'drain']) socket.removeAllListeners(event);
    refuse(socket, error, this.#stages);
  }

  /** Node's HTTP parser, as a server that never listens: connections are handed to it one by one. */
  #createParser(): ReturnType<typeof createParser> {
    const parser = createParser({
      insecureHTTPParser: false,
      maxHeaderSize: MAX_HEADER_BYTES,
      requireHostHeader: false,
      // The deadline is the listener's own; Node's would be checked in steps only.
      headersTimeout: 0,
      requestTimeout: 0,
      keepAliveTimeout: 0,
    });
    parser.maxHeadersCount = 0;
    const refuseRequest = (message: IncomingMessage, response: ServerResponse) => {
      const { socket } = message;
      response.detachSocket(socket);
      this.#refuse(socket, notConnect(message));
    };
    parser.on('connect', (message, socket, early) =>
      this.#tunnel({ message, client: socket as Socket, early }),
    );
    parser.on('request', refuseRequest);
    parser.on('checkContinue', refuseRequest);
    parser.on('checkExpectation', refuseRequest);
    parser.on('clientError', (error, socket) => {
      const client = socket as Socket;
      const handshake = this.#handshakes.get(client);
      // What follows a refused request need not parse: the lingering close goes on.
      if (handshake === undefined) return;
      if (client.bytesRead === 0 || !client.writable) client.destroy();
      else this.#refuse(client, parserFailure(error, handshake.opening));
    });
    return parser;
  }

  #tunnel(event: ConnectEvent): void {
    if (!this.#endHandshake(event.client)) {
      // A CONNECT pipelined behind a refused request is not served; the lingering close reads on, which the parser has stopped.
      event.client.resume();
      return;
    }
    if (this.#closed) {
      refuse(event.client, new TunnelError('draining'), this.#stages);
      return;
    }
    serveTunnel(event, this.#stages, this.#tunnels.begin());
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
