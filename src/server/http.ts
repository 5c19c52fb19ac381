import { createServer as createParser, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { extendOpening, MAX_HEADER_BYTES, notConnect, parserFailure } from '../handshake/connect.js';
import { TunnelError } from '../reasons.js';
import type { Admit, Reception } from './listener.js';
import { refuse, type Stages } from './request.js';
import { type ConnectEvent, serveTunnel } from './tunnel.js';

/** How long to wait for a request. */
export interface HttpOptions {
  /** Absolute deadline from the accepted connection to the end of the request's head, in milliseconds. */
  readonly handshakeTimeoutMs: number;
}

/** A connection whose request is being read. */
interface Handshake {
  readonly deadline: NodeJS.Timeout;
  /** What the connection began with. */
  opening: Buffer;
  readonly onData: (chunk: Buffer) => void;
}

const NOTHING = Buffer.alloc(0);

/** Reads an HTTP request of each connection: a CONNECT becomes a tunnel, anything else is refused. */
export class HttpReception implements Reception {
  readonly #options: HttpOptions;
  readonly #stages: Stages;
  readonly #admit: Admit;
  readonly #handshakes = new Map<Socket, Handshake>();
  readonly #parser: ReturnType<typeof createParser>;

  /** @param stages what tunnels are made with */
  constructor(options: HttpOptions, stages: Stages, admit: Admit) {
    this.#options = options;
    this.#stages = stages;
    this.#admit = admit;
    this.#parser = this.#createParser();
  }

  receive(socket: Socket): void {
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
      if (this.#endHandshake(socket))
        this.#stages.metrics.connectionDropped(socket.bytesRead === 0 ? 'silent' : 'incomplete');
    });
    this.#parser.emit('connection', socket);
    // Not before: the parser would then read behind the back of this listener. And ahead of the parser's own.
    socket.prependListener('data', handshake.onData);
  }

  /** Closes the connection that has been silent for longest: who says nothing must not keep out who does. */
  makeRoom(): boolean {
    for (const socket of this.#handshakes.keys()) {
      // One that was closed a moment ago has made its room already.
      if (socket.bytesRead > 0 || socket.destroyed) continue;
      socket.destroy();
      return true;
    }
    return false;
  }

  cut(): void {
    for (const socket of this.#handshakes.keys()) socket.destroy();
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
    const control = this.#admit();
    if (control === undefined) {
      refuse(event.client, new TunnelError('draining'), this.#stages);
      return;
    }
    serveTunnel(event, this.#stages, control);
  }
}
