import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import type { Authenticator } from '../access/credentials.js';
import type { TunnelSlots } from '../access/limits.js';
import type { Decision, Policy } from '../access/policy.js';
import { replyRefused } from '../handshake/reply.js';
import { logClose, logDecision } from '../observe/log.js';
import type { Metrics } from '../observe/metrics.js';
import { TunnelRecord } from '../observe/tunnel-record.js';
import { REASONS, TunnelError } from '../reasons.js';
import type { RelayEngine, RelayOptions } from '../relay/relay.js';
import type { StopControl } from '../stop.js';
import type { Target } from '../target.js';
import { type DialOptions, type DialRequest, dial, type Upstream } from '../upstream/dial.js';

/** What all requests of a server share. */
export interface Stages {
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

/** What a request and its listener tell each other. */
export interface RequestControl {
  /** Aborts whatever stage is under way: the listener when the drain has expired, the request when its client leaves. */
  readonly stop: StopControl;
  /** Called when the connection has become a tunnel: the relay has it from then on. */
  onRelayed(client: Socket): void;
  /** Called when all is over and accounted. */
  onEnded(): void;
}

/** What the access stage needs to know of a request. */
interface Asked {
  readonly target: Target;
  /** The value of `Proxy-Authorization`; undefined where there is none. */
  readonly credentials: string | undefined;
  readonly userAgent: string | undefined;
}

/**
 * The stage of access: who asks, whether the policy lets the target pass, and a place among the tunnels.
 *
 * @throws TunnelError where one of them says no
 */
export function admit(request: Asked, record: TunnelRecord, stages: Stages): Decision {
  record.target = request.target;
  record.userAgent = request.userAgent;
  const identity = stages.authenticator.authenticate(request.credentials);
  record.user = identity.user;
  const decision = stages.policy.decide(request.target);
  record.rule = decision.rule?.text;
  stages.slots.take(identity.user, record.clientAddress);
  record.placed = true;
  return decision;
}

/**
 * The stage of the dial. The decision is made with the first address that may be dialled, and said once.
 *
 * @param how what the connection is for, and what a parent proxy is told
 * @throws TunnelError where the policy lets no address pass, or none answers
 */
export async function reach(
  target: Target,
  decision: Decision,
  record: TunnelRecord,
  { dialOptions, logger }: Stages,
  stop: StopControl,
  how: Omit<DialRequest, 'judge'> = {},
): Promise<Upstream> {
  const judge: Decision['judge'] = (address, name) => {
    const refusal = decision.judge(address, name);
    if (refusal === undefined) allow(record, logger);
    return refusal;
  };
  try {
    const upstream = await dial(target, { ...dialOptions, ...how, judge }, stop);
    record.address = upstream.address;
    record.timings = upstream.timings;
    return upstream;
  } catch (error) {
    if (!isPolicy(error)) allow(record, logger);
    throw error;
  }
}

/** The last stage, exactly once for each request. */
export function account(
  record: TunnelRecord,
  { slots, metrics, logger }: Stages,
  control: RequestControl,
): void {
  try {
    if (record.placed) slots.give(record.user, record.clientAddress);
    metrics.account(record);
    if (record.allowed) logClose(logger, record);
    else logDecision(logger, record);
  } finally {
    control.onEnded();
  }
}

/**
 * Refuses what never became a request, and accounts it like one that did.
 *
 * @param method of the request, as far as it is known
 */
export function refuse(
  client: Socket,
  refusal: TunnelError,
  stages: Pick<Stages, 'metrics' | 'logger' | 'lingerMs'>,
  method?: string,
): void {
  const record = newRecord(client);
  record.refusal = refusal;
  replyRefused(client, refusal, { tunnelId: record.tunnelId, lingerMs: stages.lingerMs, method });
  stages.metrics.account(record);
  logDecision(stages.logger, record);
}

/** The record of a request of this connection, with an id of its own. */
export function newRecord({ remoteAddress = 'unknown', remotePort = 0 }: Socket): TunnelRecord {
  // An IPv4 client of a dual-stack listener is shown, and limited, as what it is.
  const address = remoteAddress.replace(/^::ffff:(?=[0-9.]+$)/, '');
  return new TunnelRecord(newTunnelId(), address, remotePort);
}

/** What an error of a stage refuses the request with; one that was not foreseen is logged as our mistake. */
export function asRefusal(error: unknown, logger: Logger): TunnelError {
  if (error instanceof TunnelError) return error;
  logger.error({ err: error }, 'a request failed in a way that was not foreseen');
  return new TunnelError('proxy_internal_error', { cause: error });
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

/** Random bytes that are drawn many at a time: a system call for each tunnel would cost more than all else about its id. */
let ids = { bytes: Buffer.alloc(0), used: 0 };
const ID_BYTES = 8;

function newTunnelId(): string {
  if (ids.used === ids.bytes.length) ids = { bytes: randomBytes(512 * ID_BYTES), used: 0 };
  ids.used += ID_BYTES;
  return ids.bytes.toString('hex', ids.used - ID_BYTES, ids.used);
}
