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
import type { ForwardedRequest, TunnelRecord } from '../observe/tunnel-record.js';
import { TunnelError } from '../reasons.js';
import { type Answer, ask, deliver, type Interim } from '../relay/exchange.js';
import type { Relay } from '../relay/relay.js';
import { formatHttpHost } from '../target.js';
import type { Upstream } from '../upstream/dial.js';
import { parentRefusal } from '../upstream/parent.js';
import { admit, asRefusal, newRecord, type RequestControl, reach, type Stages } from './request.js';
import { accountAtEnd, startRelay, watchClient } from './tunnel.js';

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
  const { message, client, early } = event;
  const { forwarding, metrics } = stages;
  const { stop } = control;
  const unwatch = watch(event, stop);
  let upstreamSocket: Socket | undefined;
  try {
    const request = readAbsolute(
      message,
      event.response === undefined ? forwarding : withoutUpgrades(forwarding),
    );
    const forwarded = forwardedOf(request);
    record.forwarded = forwarded;
    const decision = admit(request, record, stages);
    const upstream = await reach(request.target, decision, record, stages, stop, {
      // Proxies forward an offer to switch protocols as little as Squid does, but they let tunnels through.
      for: request.upgrade.length > 0 ? 'tunnel' : 'request',
      via: request.via,
    });
    upstreamSocket = upstream.socket;
    const answer = await ask(
      {
        ...{ message, upstream: upstream.socket, ...request, ...addressed(request, upstream) },
        idleTimeoutMs: stages.relayOptions.idleTimeoutMs,
        onInterim: (interim) => sayInterim(event, interim, forwarding),
      },
      stop.signal,
    );
    const { statusCode: status = 0 } = answer.incoming;
    if (answer.kind === 'switched') {
      const reply = switchedReply(answer, request, record, forwarding);
      const { bytesWritten: bytesUp, bytesRead: bytesDown } = upstream.socket;
      forwarded.answered = { status, atMs: performance.now(), bytes: { bytesUp, bytesDown } };
      unwatch();
      if (answer.early.length > 0) upstream.socket.unshift(answer.early);
      return startRelay({ client, upstream: upstream.socket, early, reply }, record, stages, control);
    }
    refuseChallenge(answer.incoming, upstream);
    const response = beginResponse(event, answer.incoming, forwarding);
    forwarded.answered = { status, atMs: performance.now(), bytes: bytesOf(upstream.socket) };
    metrics.forwardAnswered(record);
    unwatch();
    const cause = await deliver(
      { answer, response, client, upstream: upstream.socket, message },
      stop.signal,
    );
    forwarded.ended = { atMs: performance.now(), cause };
    if (event.response === undefined && cause === 'complete') {
      client.end();
      closeLingering(client, stages.lingerMs);
    }
    return undefined;
  } catch (error) {
    const refusal = asRefusal(error, stages.logger);
    record.refusal = refusal;
    record.timings ??= refusal.timings;
    stop.abort(refusal);
    upstreamSocket?.destroy();
    if (record.relayed !== undefined || refusal.reason === 'client_gone') client.destroy();
    else {
      takeFromParser(client, event.response);
      replyRefused(client, refusal, { tunnelId: record.tunnelId, lingerMs: stages.lingerMs });
    }
    return undefined;
  } finally {
    unwatch();
  }
}

/** For a connection that Node's parser holds: it did not see an offer there, and the connection cannot become a tunnel. */
function withoutUpgrades({ pseudonym }: ForwardingOptions): ForwardingOptions {
  return { pseudonym, upgrades: [] };
}

/** Takes a connection from Node's HTTP parser: nothing that arrives on it is parsed any more. */
export function takeFromParser(client: Socket, response: ServerResponse | undefined): void {
  if (response?.socket === client) response.detachSocket(client);
  for (const event of ['data', 'end', 'timeout', 'drain']) client.removeAllListeners(event);
}

/** Notices a client that leaves before its answer. */
function watch({ client, response, early }: ForwardEvent, stop: RequestControl['stop']): () => void {
  if (response === undefined) return watchClient(client, early, stop);
  // Node's parser reads on, and closes a connection that has ended: RFC 9112 §9.5 leaves that to the server.
  const leave = () => stop.abort(new TunnelError('client_gone'));
  client.on('close', leave);
  if (client.destroyed) leave();
  return () => void client.off('close', leave);
}

function forwardedOf({ method, upgrade }: AbsoluteRequest): ForwardedRequest {
  const startedMs = performance.now();
  return { method, upgrade: upgrade[0], startedMs, answered: undefined, ended: undefined };
}

/** An object of its own, so that nothing else of the socket's surroundings is kept. */
function bytesOf(upstream: Socket): { readonly bytesUp: number; readonly bytesDown: number } {
  return {
    get bytesUp() {
      return upstream.bytesWritten;
    },
    get bytesDown() {
      return upstream.bytesRead;
    },
  };
}

/** HTTP/1.0 knows no interim answers (RFC 9110 §15.2). */
function sayInterim({ message, client }: ForwardEvent, interim: Interim, options: ForwardingOptions): void {
  if (message.httpVersion !== '1.0') client.write(interimHead(interim, options), 'latin1');
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
    });
  }
  if (forwarded !== undefined) forwarded.upgrade = token;
  const more = ['Connection', 'Upgrade', 'Upgrade', token, TUNNEL_ID_HEADER, tunnelId];
  return Buffer.from(interimHead(incoming, options, more), 'latin1');
}

/** How a request is written on its connection: a parent is told the whole URL, and who we are. */
function addressed(
  { target, path, fields }: AbsoluteRequest,
  { requestForm, parent }: Upstream,
): Pick<AbsoluteRequest, 'path' | 'fields'> {
  if (requestForm === 'origin') return { path, fields };
  const authorization = parent?.authorization;
  return {
    path: `http://${formatHttpHost(target)}${path === '*' ? '' : path}`,
    fields: authorization === undefined ? fields : [...fields, 'Proxy-Authorization', authorization],
  };
}

/**
 * A client takes a 407 for ours, and would answer it with what it knows us by.
 *
 * @throws TunnelError for a 407 of a parent, or of an origin, which has no business to say that
 */
function refuseChallenge({ statusCode, statusMessage = '' }: IncomingMessage, upstream: Upstream): void {
  if (statusCode !== 407) return;
  if (upstream.requestForm === 'absolute' && upstream.parent !== undefined)
    throw parentRefusal(upstream.parent.name, statusCode, statusMessage);
  throw new TunnelError('http_protocol_error', {
    detail: 'the destination answered 407, which is for proxies to say',
    remedy: 'check that the destination is no proxy',
  });
}

/** @throws TunnelError where the head of the answer cannot be passed on */
function beginResponse(
  { message, client, response: own }: ForwardEvent,
  incoming: IncomingMessage,
  options: ForwardingOptions,
): ServerResponse {
  const { statusCode = 0, statusMessage = '' } = incoming;
  const response = own ?? responseOn(message, client);
  const isChunked = response.useChunkedEncodingByDefault && incoming.headers['content-length'] === undefined;
  try {
    response.writeHead(statusCode, statusMessage, answerFields(incoming, isChunked, options));
  } catch (cause) {
    throw new TunnelError('http_protocol_error', {
      detail: 'the head of the answer cannot be passed on',
      cause,
    });
  }
  response.flushHeaders();
  return response;
}

/** An answer on a connection that Node's parser has let go; the last one there. */
function responseOn(message: IncomingMessage, client: Socket): ServerResponse {
  const response = new ServerResponse(message);
  response.shouldKeepAlive = false;
  response.assignSocket(client);
  client.on('drain', () => response.emit('drain'));
  return response;
}
