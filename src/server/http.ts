import { createServer as createParser, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { hasContent, headWithoutUpgrade, isAbsoluteForm, offersUpgrade } from '../handshake/absolute.js';
import { extendOpening, notConnect, parserFailure } from '../handshake/connect.js';
import { MAX_HEADER_BYTES } from '../handshake/head.js';
import { closeLingering } from '../handshake/reply.js';
import { TunnelError } from '../reasons.js';
import { type ForwardEvent, type HttpStages, serveForward, takeFromParser } from './forward.js';
import type { Admit, Reception } from './listener.js';
import { type RequestControl, refuse } from './request.js';
import { type ConnectEvent, serveTunnel } from './tunnel.js';

/** How long to wait for a request. */
export interface HttpOptions {
  /**
   * Absolute deadline from the accepted connection, or from the end of the answer before, to the end of the request's head, in
   * milliseconds.
   */
  readonly handshakeTimeoutMs: number;
}

/** A connection whose request is being read. */
interface Handshake {
  readonly deadline: NodeJS.Timeout;
  /** What the connection, or its next request, began with. */
  opening: Buffer;
  /** Bytes that earlier requests took. */
  readonly bytesBefore: number;
  readonly onData: (chunk: Buffer) => void;
}

/** A connection whose request is being forwarded. */
interface Serving {
  readonly message: IncomingMessage;
  readonly response: ServerResponse | undefined;
  readonly control: RequestControl;
  /** What to do with the requests that came behind it, in their order. */
  readonly behind: (() => void)[];
  /** As in {@link Handshake}, for the next. */
  bytesBefore: number;
  opening: Buffer;
  readonly onData: (chunk: Buffer) => void;
}

const NOTHING = Buffer.alloc(0);
/** With so many requests waiting for the one before them, no more are read. */
const MAX_BEHIND = 8;

/** Connections that speak HTTP: each brings requests for URLs, or one CONNECT, and nothing behind what was refused. */
export class HttpReception implements Reception {
  readonly #options: HttpOptions;
  readonly #stages: HttpStages;
  readonly #admit: Admit;
  readonly #parser: ReturnType<typeof createParser>;
  readonly #handshakes = new Map<Socket, Handshake>();
  readonly #serving = new Map<Socket, Serving>();
  #closed = false;

  /** @param stages what requests are served with */
  constructor(options: HttpOptions, stages: HttpStages, admit: Admit) {
    this.#options = options;
    this.#stages = stages;
    this.#admit = admit;
    this.#parser = this.#createParser();
  }

  receive(socket: Socket): void {
    socket.on('close', () => this.#gone(socket));
    this.#parser.emit('connection', socket);
    this.#await(socket, 0);
  }

  makeRoom(): boolean {
    for (const [socket, { bytesBefore }] of this.#handshakes) {
      // One that was closed a moment ago has made its room already.
      if (socket.bytesRead > bytesBefore || socket.destroyed) continue;
      socket.destroy();
      return true;
    }
    return false;
  }

  close(): void {
    this.#closed = true;
    for (const [socket, { bytesBefore }] of this.#handshakes)
      if (bytesBefore > 0 && socket.bytesRead === bytesBefore) socket.destroy();
    for (const { response } of this.#serving.values())
      if (response !== undefined) response.shouldKeepAlive = false;
  }

  cut(): void {
    for (const socket of this.#handshakes.keys()) socket.destroy();
  }

  /** Waits for the head of a request; Node's parser has the connection already, or would read behind the back of this class. */
  #await(socket: Socket, bytesBefore: number, opening: Buffer = NOTHING): void {
    const deadline = setTimeout(() => this.#late(socket), this.#options.handshakeTimeoutMs);
    const handshake: Handshake = {
      deadline,
      opening,
      bytesBefore,
      onData(chunk) {
        handshake.opening = extendOpening(handshake.opening, chunk);
      },
    };
    this.#handshakes.set(socket, handshake);
    // Ahead of the parser's own.
    socket.prependListener('data', handshake.onData);
  }

  #gone(socket: Socket): void {
    this.#serving.delete(socket);
    const handshake = this.#endHandshake(socket);
    if (handshake === undefined) return;
    if (socket.bytesRead > handshake.bytesBefore) this.#stages.metrics.connectionDropped('incomplete');
    else if (handshake.bytesBefore === 0) this.#stages.metrics.connectionDropped('silent');
  }

  /** @returns undefined where the handshake was over already */
  #endHandshake(socket: Socket): Handshake | undefined {
    const handshake = this.#handshakes.get(socket);
    if (handshake === undefined) return undefined;
    clearTimeout(handshake.deadline);
    socket.off('data', handshake.onData);
    this.#handshakes.delete(socket);
    return handshake;
  }

  #late(socket: Socket): void {
    const { bytesBefore = 0 } = this.#handshakes.get(socket) ?? {};
    if (socket.bytesRead === bytesBefore) socket.destroy();
    else this.#refuse(socket, new TunnelError('request_timeout'));
  }

  /** Refuses a connection that Node's parser still holds: nothing behind the refused request is parsed. */
  #refuse(socket: Socket, error: TunnelError, response?: ServerResponse): void {
    if (this.#endHandshake(socket) === undefined) return;
    takeFromParser(socket, response);
    refuse(socket, error, this.#stages, response?.req.method);
  }

  /** Node's HTTP parser, as a server that never listens: connections are handed to it one by one. */
  #createParser(): ReturnType<typeof createParser> {
    const options = {
      insecureHTTPParser: false,
      maxHeaderSize: MAX_HEADER_BYTES,
      requireHostHeader: false,
      // The deadline is this class's own; Node's would be checked in steps only.
      headersTimeout: 0,
      requestTimeout: 0,
      keepAliveTimeout: this.#options.handshakeTimeoutMs,
      // Node 26 would read the content of an offer, and #upgrade not get it. Every other offer comes there, dropped or not: what is
      // pipelined behind one that is turned down here, Node (from 22.21 on, when it began to ask) forgets.
      shouldUpgradeCallback: (message: IncomingMessage) => !hasContent(message),
    };
    const parser = createParser(options);
    parser.maxHeadersCount = 0;
    const onRequest = (message: IncomingMessage, response: ServerResponse) => {
      const client = message.socket;
      if (isAbsoluteForm(message)) this.#forward({ message, client, response, early: NOTHING });
      else this.#refuse(client, notConnect(message), response);
    };
    parser.on('connect', (message, socket, early) =>
      this.#tunnel({ message, client: socket as Socket, early }),
    );
    parser.on('request', onRequest);
    parser.on('checkContinue', onRequest);
    parser.on('checkExpectation', onRequest);
    parser.on('upgrade', (message, socket, early) => this.#upgrade(message, socket as Socket, early));
    parser.on('clientError', (error, socket) => this.#failed(socket as Socket, error));
    return parser;
  }

  /** What came does not parse, or does not come at all. */
  #failed(client: Socket, error: Error & { readonly code?: string }): void {
    const handshake = this.#handshakes.get(client);
    if (handshake !== undefined) {
      if (client.bytesRead === handshake.bytesBefore || !client.writable) client.destroy();
      else this.#refuse(client, parserFailure(error, handshake.opening));
      return;
    }
    const serving = this.#serving.get(client);
    // What follows a refused request need not parse: the lingering close goes on.
    if (serving === undefined) return;
    const { message, control, opening } = serving;
    const isGone = error.code?.startsWith('HPE_') !== true || error.code === 'HPE_INVALID_EOF_STATE';
    if (isGone) client.destroy();
    else if (message.complete) this.#waits(client, () => this.#refuse(client, parserFailure(error, opening)));
    else control.stop.abort(parserFailure(error, NOTHING));
  }

  #tunnel(event: ConnectEvent): void {
    if (this.#waits(event.client, () => this.#tunnel(event))) return;
    const control = this.#begin(event.client);
    if (control !== undefined) serveTunnel(event, this.#stages, control);
    // Behind what was refused it is not served; the lingering close reads on, which the parser has stopped.
    else event.client.resume();
  }

  /** An offer to switch protocols, from whose connection Node has taken its parser away. */
  #upgrade(message: IncomingMessage, client: Socket, early: Buffer): void {
    if (this.#waits(client, () => this.#upgrade(message, client, early))) return;
    if (offersUpgrade(message, this.#stages.forwarding)) {
      const control = this.#begin(client);
      if (control === undefined) client.resume();
      else void serveForward({ message, client, response: undefined, early }, this.#stages, control);
      return;
    }
    // Not one that is forwarded: it is read again, as the ordinary request that it is without (RFC 9110 §7.8).
    const handshake = this.#endHandshake(client);
    if (handshake === undefined) {
      client.resume();
      return;
    }
    client.unshift(Buffer.concat([Buffer.from(headWithoutUpgrade(message), 'latin1'), early]));
    this.#parser.emit('connection', client);
    this.#await(client, handshake.bytesBefore);
  }

  #forward(event: ForwardEvent): void {
    if (this.#waits(event.client, () => this.#forward(event))) return;
    const control = this.#begin(event.client, event.response);
    if (control !== undefined) void this.#serve(event, control);
  }

  async #serve(event: ForwardEvent, control: RequestControl): Promise<void> {
    const { client, message, response } = event;
    const serving: Serving = {
      ...{ message, response, control, behind: [], bytesBefore: client.bytesRead, opening: NOTHING },
      onData(chunk) {
        if (message.complete) serving.opening = extendOpening(serving.opening, chunk);
        else serving.bytesBefore = client.bytesRead;
      },
    };
    this.#serving.set(client, serving);
    client.prependListener('data', serving.onData);
    if (this.#closed && response !== undefined) response.shouldKeepAlive = false;
    const goesOn = await serveForward(event, this.#stages, control);
    client.off('data', serving.onData);
    this.#serving.delete(client);
    if (!goesOn || !client.writable) return;
    this.#await(client, serving.bytesBefore, serving.opening);
    if (serving.behind.length === 0) {
      if (this.#closed) this.#hangUp(client);
      client.resume();
    }
    // The first of them is served, and the others wait again; or it is refused, and so nobody hears the others.
    for (const next of serving.behind) next();
  }

  /** Requests of one connection are served one after the other (RFC 9112 §9.3.2). @returns whether this one has to wait */
  #waits(client: Socket, next: () => void): boolean {
    const serving = this.#serving.get(client);
    if (serving === undefined) return false;
    serving.behind.push(next);
    if (serving.behind.length >= MAX_BEHIND) client.pause();
    return true;
  }

  /** Closes a connection that has had its answers: what it sends meanwhile is not read as a request, and takes nothing away. */
  #hangUp(client: Socket): void {
    this.#endHandshake(client);
    takeFromParser(client, undefined);
    client.end();
    closeLingering(client, this.#stages.lingerMs);
  }

  /** Ends the handshake of a connection whose request is to be served; undefined where it is not, and has been refused. */
  #begin(client: Socket, response?: ServerResponse): RequestControl | undefined {
    if (this.#endHandshake(client) === undefined) return undefined;
    const control = this.#admit();
    if (control !== undefined) return control;
    takeFromParser(client, response);
    refuse(client, new TunnelError('draining'), this.#stages, response?.req.method);
    return undefined;
  }
}
