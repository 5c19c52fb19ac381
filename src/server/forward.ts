import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import {
  type AbsoluteRequest,
  answerFields,
  type ForwardingOptions,
  interimHead,
  readAbsolute,
} from '../handshake/absolute.js';
import { closeLingering, replyRefused, TUNNEL_ID_HEADER } from '../handshake/reply.js';
import type { ForwardedBytes, ForwardedRequest, TunnelRecord } from '../observe/tunnel-record.js';
import { TunnelError } from '../reasons.js';
import { deliver } from '../relay/delivery.js';
import { type Answer, ask, type Interim } from '../relay/exchange.js';
import type { Relay } from '../relay/relay.js';
import { resetNow } from '../relay/reset.js';
import type { Upstream } from '../upstream/dial.js';
import { addressed, blamed, refuseChallenge, timingsOf } from './forward-to-parent.js';
import { holdClient } from './hold.js';
import { admit, asRefusal, newRecord, type RequestControl, reach, type Stages } from './request.js';
import { accountAtEnd, startRelay } from './tunnel.js';

/** What requests that come in HTTP share. */
export interface HttpStages extends Stages {
  readonly forwarding: ForwardingOptions;
}

/** An absolute-form request as Node's parser hands it over. */
export interface ForwardEvent {
  readonly message: IncomingMessage;
  /** With an `error` listener. It stays the listener's where the request leaves it usable. */
  readonly client: Socket;
  /** Node's own, on a connection that its parser still holds; undefined behind an offer to upgrade, where it no longer does. */
  readonly response: ServerResponse | undefined;
  /** What came behind the head of such an offer. */
  readonly early: Buffer;
}

/** What a client may leave unread of interim answers, in bytes. */
const MAX_INTERIM_BYTES = 64 * 1024;

/**
 * One absolute-form request from its head to its accounting: the same stages as CONNECT, with an exchange of HTTP messages in the place
 * of the relay, unless the origin switches protocols.
 *
 * @returns whether the connection may be used for the next request: not where it is being closed, or has become a tunnel. It never
 *   rejects
 */
export async function serveForward(
  event: ForwardEvent,
  stages: HttpStages,
  control: RequestControl,
): Promise<boolean> {
  const record = newRecord(event.client);
  const serving = forward(event, record, stages, control).catch((error: unknown) => {
    record.refusal ??= asRefusal(error, stages.logger);
    event.client.destroy();
    return undefined;
  });
  accountAtEnd(serving, record, stages, control);
  await serving;
  return event.response !== undefined && record.forwarded?.ended?.cause === 'complete';
}

/** @returns the relay where the connection has become a tunnel */
async function forward(
  event: ForwardEvent,
  record: TunnelRecord,
  stages: HttpStages,
  control: RequestControl,
): Promise<Relay | undefined> {
  const { message, client } = event;
  const { forwarding, relayOptions, metrics, lingerMs } = stages;
  const { idleTimeoutMs } = relayOptions;
  const { stop } = control;
  const forwarded = forwardedOf(message);
  record.forwarded = forwarded;
  const letGo = watch(event, stop);
  let reached: Upstream | undefined;
  let settle = () => {};
  try {
    const request = readAbsolute(
      message,
      event.response === undefined ? forwarding : withoutUpgrades(forwarding),
    );
    forwarded.upgrade = request.upgrade[0];
    const decision = admit(request, record, stages);
    const upstream = await reach(request.target, decision, record, stages, stop, {
      // Proxies forward an offer to switch protocols as little as Squid does, but they let tunnels through.
      for: request.upgrade.length > 0 ? 'tunnel' : 'request',
      via: request.via,
    });
    reached = upstream;
    const upstreamSocket = upstream.socket;
    settle = metrics.forwarding(bytesOf(upstreamSocket));
    prepare([client, upstreamSocket], relayOptions);
    const answer = await ask(
      {
        ...{ message, upstream: upstreamSocket, ...request, ...addressed(request, upstream), idleTimeoutMs },
        onInterim: (interim) => sayInterim(event, interim, forwarding, stop),
      },
      stop.signal,
    );
    const { statusCode: status = 0 } = answer.incoming;
    if (answer.kind === 'switched') {
      const reply = switchedReply(answer, request, record, forwarding);
      forwarded.answered = { status, atMs: performance.now() };
      if (answer.early.length > 0) upstream.socket.unshift(answer.early);
      return startRelay(
        { client, upstream: upstream.socket, early: letGo(), reply },
        record,
        stages,
        control,
      );
    }
    refuseChallenge(answer.incoming, upstream);
    const response = beginResponse(event, answer.incoming, stages);
    forwarded.answered = { status, atMs: performance.now() };
    letGo();
    const cause = await deliver(
      { answer, response, client, upstream: upstreamSocket, message, idleTimeoutMs },
      stop.signal,
    );
    const { bytesWritten: bytesUp, bytesRead: bytesDown } = upstreamSocket;
    forwarded.ended = { atMs: performance.now(), cause, bytes: { bytesUp, bytesDown } };
    if (event.response === undefined && cause === 'complete') {
      client.end();
      closeLingering(client, lingerMs);
    }
    return undefined;
  } catch (error) {
    const refusal = blamed(asRefusal(error, stages.logger), reached);
    record.refusal = refusal;
    record.timings = reached === undefined ? refusal.timings : timingsOf(refusal, reached);
    stop.abort(refusal);
    reached?.socket.destroy();
    // In the middle of an answer nothing can be said any more, and it must not look complete.
    if (forwarded.answered !== undefined) resetNow(client);
    else if (refusal.reason === 'client_gone') client.destroy();
    else {
      takeFromParser(client, event.response);
      replyRefused(client, refusal, { tunnelId: record.tunnelId, lingerMs, method: forwarded.method });
    }
    return undefined;
  } finally {
    letGo();
    settle();
  }
}

/** For a connection that Node's parser holds: it did not see an offer there, and the connection cannot become a tunnel. */
function withoutUpgrades({ pseudonym }: ForwardingOptions): ForwardingOptions {
  return { pseudonym, upgrades: [] };
}

/** Takes a connection from Node's HTTP parser: nothing that arrives on it is parsed any more. */
export function takeFromParser(client: Socket, response: ServerResponse | undefined): void {
  if (response?.socket === client) response.detachSocket(client);
  // Node would stop reading the connection for the sake of content that nobody reads.
  response?.req.resume();
  for (const event of ['data', 'end', 'timeout', 'drain']) client.removeAllListeners(event);
}

/**
 * Notices a client that leaves before its answer.
 *
 * @returns lets go of it, and gives what came behind an offer to switch protocols, once
 */
function watch({ client, response, early }: ForwardEvent, stop: RequestControl['stop']): () => Buffer {
  if (response === undefined) return holdClient(client, { early, finMeansGone: 'always' }, stop);
  // Who ends its half has left, as far as a request is concerned: most that do have closed the connection.
  const leave = () => stop.abort(new TunnelError('client_gone'));
  client.on('close', leave).prependListener('end', leave);
  if (client.destroyed) leave();
  return () => {
    client.off('close', leave).off('end', leave);
    return early;
  };
}

/** What tunnels get as well: small writes at once, and notice of a peer that has vanished. */
function prepare(sockets: readonly Socket[], { keepaliveMs }: Stages['relayOptions']): void {
  for (const socket of sockets) {
    socket.setNoDelay(true);
    if (keepaliveMs > 0) socket.setKeepAlive(true, keepaliveMs);
  }
}

function forwardedOf({ method = '' }: IncomingMessage): ForwardedRequest {
  const startedMs = performance.now();
  return { method, upgrade: undefined, startedMs, answered: undefined, ended: undefined };
}

/** An object of its own, so that nothing else of the socket's surroundings is kept. */
function bytesOf(upstream: Socket): ForwardedBytes {
  return {
    get bytesUp() {
      return upstream.bytesWritten;
    },
    get bytesDown() {
      return upstream.bytesRead;
    },
  };
}

/** HTTP/1.0 knows no interim answers (RFC 9110 §15.2). An origin that sends them without end to a client that does not read is refused. */
function sayInterim(
  { message, client }: ForwardEvent,
  interim: Interim,
  options: ForwardingOptions,
  stop: RequestControl['stop'],
): void {
  if (client.writableLength > MAX_INTERIM_BYTES) {
    const detail = 'the destination sends interim answers without end';
    stop.abort(new TunnelError('http_protocol_error', { detail }));
  } else if (message.httpVersion !== '1.0') client.write(interimHead(interim, options), 'latin1');
}

/** @throws TunnelError where the origin switched to something that nobody asked for */
function switchedReply(
  { incoming }: Answer,
  { upgrade }: AbsoluteRequest,
  { tunnelId, forwarded }: TunnelRecord,
  options: ForwardingOptions,
): Buffer {
  const to = (incoming.headers.upgrade ?? '').toLowerCase();
  const token = upgrade.find((each) => each.toLowerCase() === to);
  if (token === undefined) {
    throw new TunnelError('http_protocol_error', {
      detail: `the destination switched to ${to === '' ? 'nothing' : to}, which it was not asked for`,
      remedy: 'look at the destination: it may switch to what was offered, or answer as if nothing was',
    });
  }
  if (forwarded !== undefined) forwarded.upgrade = token;
  const more = ['Connection', 'Upgrade', 'Upgrade', token, TUNNEL_ID_HEADER, tunnelId];
  return Buffer.from(interimHead(incoming, options, more), 'latin1');
}

/** @throws TunnelError where the head of the answer cannot be passed on */
function beginResponse(
  { message, client, response: own }: ForwardEvent,
  incoming: IncomingMessage,
  { forwarding, lingerMs }: HttpStages,
): ServerResponse {
  const { statusCode = 0, statusMessage = '' } = incoming;
  const response = own ?? responseOn(message, client);
  const isOld = message.httpVersion === '1.0';
  // Node would answer an HTTP/1.0 client that sends TE in chunks, against RFC 9112 §6.1.
  if (isOld) response.useChunkedEncodingByDefault = false;
  // A proxy keeps no connection with an HTTP/1.0 client (§9.3). Nor is it known where the rest of a request ends, or whether it comes.
  if (isOld || !message.complete) response.shouldKeepAlive = false;
  // What Node closes a connection with behind its last answer would reset it where something came unread, and take the answer along.
  client.destroySoon = () => {
    client.end();
    closeLingering(client, lingerMs);
  };
  const hasContent = message.method !== 'HEAD' && statusCode !== 204 && statusCode !== 304;
  const isChunked =
    hasContent && response.useChunkedEncodingByDefault && incoming.headers['content-length'] === undefined;
  try {
    response.writeHead(statusCode, statusMessage, answerFields(incoming, isChunked, forwarding));
  } catch (cause) {
    throw new TunnelError('http_protocol_error', {
      detail: 'the head of the answer cannot be passed on',
      cause,
    });
  }
  // Node writes a head that it flushes early in UTF-8, but what was read as Latin-1 must be written as such.
  client.setDefaultEncoding('latin1');
  response.flushHeaders();
  return response;
}

/** An answer on a connection that Node's parser has let go; the last one there. */
function responseOn(message: IncomingMessage, client: Socket): ServerResponse {
  const response = new ServerResponse(message);
  response.shouldKeepAlive = false;
  response.assignSocket(client);
  // As with Node's parser, who ends its half has left.
  client.once('end', () => response.destroy());
  client.on('drain', () => response.emit('drain'));
  return response;
}
