import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import type { Authenticator } from '../access/credentials.js';
import type { TunnelSlots } from '../access/limits.js';
import type { Decision, Policy } from '../access/policy.js';
import { readConnect } from '../handshake/connect.js';
import { establishedReply, replyRefused } from '../handshake/reply.js';
import { logClose, logDecision } from '../observe/log.js';
import type { Metrics } from '../observe/metrics.js';
import { TunnelRecord } from '../observe/tunnel-record.js';
import { REASONS, TunnelError } from '../reasons.js';
import type { Relay, RelayCause, RelayEngine, RelayOptions } from '../relay/relay.js';
import type { StopControl } from '../stop.js';
import { type DialOptions, dial } from '../upstream/dial.js';

/** What every tunnel of a server shares. */
export interface TunnelStages {
  readonly authenticator: Authenticator;
  readonly policy: Policy;
  readonly slots: TunnelSlots;
  readonly dialOptions: DialOptions;
  readonly engine: RelayEngine;
  readonly relayOptions: RelayOptions;
  readonly metrics: Metrics;
  readonly logger: Logger;
  /** Deadline of the lingering close after a refusal, in milliseconds. */
  readonly lingerMs: number;
}

/** A CONNECT request as Node's parser hands it over. */
export interface ConnectEvent {
  readonly message: IncomingMessage;
  /** With an `error` listener. The tunnel owns and closes it from here on. */
  readonly client: Socket;
  /** What came behind the head already. */
  readonly early: Buffer;
}

/** What a tunnel and its listener tell each other. */
export interface TunnelControl {
  /** Aborts whatever stage is under way: the listener when the drain has expired, the tunnel when its client leaves. */
  readonly stop: StopControl;
  /** Called when the connection has become a tunnel: the relay has it from then on. */
  onRelayed(client: Socket): void;
  /** Called when all is over and accounted. */
  onEnded(): void;
}

/** One request from its head to its accounting: the six stages, in order. It never throws, whatever becomes of the request. */
export function serveTunnel(event: ConnectEvent, stages: TunnelStages, control: TunnelControl): void {
  const record = newRecord(event.client);
  const opening = openTunnel(event, record, stages, control).catch((error: unknown) => {
    record.refusal ??= asRefusal(error, stages.logger);
    event.client.destroy();
    return undefined;
  });
  accountAtEnd(opening, record, stages, control);
}

/** A function of its own, and no async one: while a tunnel is idle, for hours, it must not keep what all the stages needed. */
function accountAtEnd(
  opening: Promise<Relay | undefined>,
  record: TunnelRecord,
  stages: TunnelStages,
  control: TunnelControl,
): void {
  void opening.then((relay) => {
    if (relay === undefined) account(record, stages, control);
    else void relay.end.then(({ cause }) => account(record, stages, control, cause));
  });
}

/**
 * The stages up to the relay. Whatever they needed (request, sockets, buffers) is garbage once the relay has taken over: an idle
 * tunnel keeps its record, and what its engine keeps.
 *
 * @returns undefined where the request was refused, which the record tells
 */
async function openTunnel(
  { message, client, early }: ConnectEvent,
  record: TunnelRecord,
  stages: TunnelStages,
  control: TunnelControl,
): Promise<Relay | undefined> {
  const { logger, metrics, lingerMs } = stages;
  const { tunnelId } = record;
  const { stop } = control;
  const unwatch = watchClient(client, early, stop);
  let upstreamSocket: Socket | undefined;
  try {
    const request = readConnect(message);
    record.target = request.target;
    record.userAgent = request.userAgent;
    const identity = stages.authenticator.authenticate(request.credentials);
    record.user = identity.user;
    const decision = stages.policy.decide(request.target);
    record.rule = decision.rule?.text;
    stages.slots.take(identity.user, record.clientAddress);
    record.placed = true;

    // The decision is made with the first address that may be dialled, and said once.
    const judge: Decision['judge'] = (address, name) => {
      const refusal = decision.judge(address, name);
      if (refusal === undefined) allow(record, logger);
      return refusal;
    };
    const upstream = await dial(request.target, { ...stages.dialOptions, judge }, stop).catch(
      (error: unknown) => {
        if (!isPolicy(error)) allow(record, logger);
        throw error;
      },
    );
    record.address = upstream.address;
    record.timings = upstream.timings;
    unwatch();

    // Whatever went wrong from here on, the client has been told that the tunnel is open: nothing more is said, and it is ended.
    upstreamSocket = upstream.socket;
    const openedMs = performance.now();
    const relay = stages.engine.relay(
      { client, upstream: upstream.socket, early, reply: establishedReply(tunnelId) },
      stages.relayOptions,
      stop.signal,
    );
    record.relayed = { engine: relay.engine, bytes: relay.traffic, openedMs, ended: undefined };
    metrics.tunnelOpened(record.relayed, upstream.timings);
    control.onRelayed(client);
    return relay;
  } catch (error) {
    const refusal = asRefusal(error, logger);
    record.refusal = refusal;
    record.timings = refusal.timings;
    if (refusal.reason === 'client_gone' || upstreamSocket !== undefined) {
      stop.abort(refusal);
      client.destroy();
      upstreamSocket?.destroy();
    } else replyRefused(client, refusal, { tunnelId, lingerMs });
    return undefined;
  } finally {
    unwatch();
  }
}

/** The last stage, exactly once for each request. */
function account(
  record: TunnelRecord,
  { slots, metrics, logger }: TunnelStages,
  control: TunnelControl,
  cause?: RelayCause,
): void {
  try {
    if (record.relayed !== undefined && cause !== undefined)
      record.relayed.ended = { atMs: performance.now(), cause };
    if (record.placed) slots.give(record.user, record.clientAddress);
    metrics.account(record);
    if (record.allowed) logClose(logger, record);
    else logDecision(logger, record);
  } finally {
    control.onEnded();
  }
}

/** Says that the policy lets a request pass, unless that was said. */
function allow(record: TunnelRecord, logger: Logger): void {
  if (record.allowed) return;
  record.allowed = true;
  logDecision(logger, record);
}

function isPolicy(error: unknown): boolean {
  return error instanceof TunnelError && REASONS[error.reason].fault === 'policy';
}

/** Refuses what never became a CONNECT request, and accounts it like one that did. */
export function refuse(
  client: Socket,
  refusal: TunnelError,
  stages: Pick<TunnelStages, 'metrics' | 'logger' | 'lingerMs'>,
): void {
  const record = newRecord(client);
  record.refusal = refusal;
  replyRefused(client, refusal, { tunnelId: record.tunnelId, lingerMs: stages.lingerMs });
  stages.metrics.account(record);
  logDecision(stages.logger, record);
}

function newRecord({ remoteAddress = 'unknown', remotePort = 0 }: Socket): TunnelRecord {
  // An IPv4 client of a dual-stack listener is shown, and limited, as what it is.
  const address = remoteAddress.replace(/^::ffff:(?=[0-9.]+$)/, '');
  return new TunnelRecord(newTunnelId(), address, remotePort);
}

/** Random bytes that are drawn many at a time: a system call for each tunnel would cost more than all else about its id. */
let ids = { bytes: Buffer.alloc(0), used: 0 };
const ID_BYTES = 8;

function newTunnelId(): string {
  if (ids.used === ids.bytes.length) ids = { bytes: randomBytes(512 * ID_BYTES), used: 0 };
  ids.used += ID_BYTES;
  return ids.bytes.toString('hex', ids.used - ID_BYTES, ids.used);
}

function asRefusal(error: unknown, logger: Logger): TunnelError {
  if (error instanceof TunnelError) return error;
  logger.error({ err: error }, 'a tunnel failed in a way that was not foreseen');
  return new TunnelError('proxy_internal_error', { cause: error });
}

/**
 * Notices a client that leaves while its upstream is dialled: by a reset, or by an end of file before it has sent a byte
 * for the tunnel. An end of file behind early data is a half-close, and the tunnel is still wanted.
 */
function watchClient(client: Socket, early: Buffer, stop: StopControl): () => void {
  const leave = () => stop.abort(new TunnelError('client_gone'));
  // Reading an empty buffer is what makes a stream say that it has ended; a byte in it stays for the relay.
  const look = () => {
    if (client.readableLength === 0) client.read();
  };
  client.on('close', leave);
  if (early.length === 0) client.on('end', leave).on('readable', look);
  if (client.destroyed) leave();
  return () => void client.off('close', leave).off('end', leave).off('readable', look);
}
