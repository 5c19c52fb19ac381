import type { Socket } from 'node:net';
import { TunnelError } from '../reasons.js';
import type { StopSignal } from '../stop.js';
import type { Target } from '../target.js';
import { askConnect } from './ask-connect.js';
import type { DialClock } from './dial-clock.js';
import { authorizationOf, type Parent } from './parent.js';
import { raceAddresses } from './race.js';
import { resolveName } from './resolve.js';
import type { DialOptions, DialRequest, Upstream } from './upstream.js';

/** Everything that a try needs to know. */
export type Attempt = DialOptions & DialRequest;

/**
 * Reaches the target through a parent. The parent is the operator's own, so that the policy has no say in its addresses; they are raced as
 * those of a target are.
 *
 * @throws TunnelError the refusal of the policy, or what went wrong with the parent, which it names
 */
export async function goThrough(
  parent: Parent,
  target: Target,
  attempt: Attempt,
  clock: DialClock,
  signal: StopSignal,
): Promise<Upstream> {
  // The parent resolves: what the name leads to is not known here.
  const refusal = attempt.judge(target.family === 0 ? undefined : target.host, target.host);
  if (refusal !== undefined) throw refusal;
  const isRequest = attempt.for === 'request';
  const socket = await noted(parent, clock, async () => {
    const connection = await connectTo(parent, attempt, clock, signal);
    if (!isRequest) {
      const { connectTimeoutMs, viaName, via = [] } = attempt;
      const options = {
        parent,
        connectTimeoutMs,
        signal,
        via: viaName === undefined ? via : [...via, `1.1 ${viaName}`],
      };
      await clock.connecting(askConnect(connection, target, options));
    }
    return connection;
  });
  return {
    socket,
    address: undefined,
    parent: { name: parent.name, ...(isRequest ? { authorization: authorizationOf(parent) } : {}) },
    requestForm: isRequest ? 'absolute' : 'origin',
    timings: clock.timings,
  };
}

async function noted<T>(parent: Parent, clock: DialClock, open: () => Promise<T>): Promise<T> {
  try {
    const opened = await open();
    clock.tried({ name: parent.name, result: 'opened' });
    return opened;
  } catch (error) {
    if (!(error instanceof TunnelError)) throw error;
    const failure = unreached(parent, error);
    clock.tried({ name: parent.name, result: failure.reason });
    throw failure;
  }
}

/** A connection to the parent itself. */
async function connectTo(
  parent: Parent,
  attempt: Attempt,
  clock: DialClock,
  signal: StopSignal,
): Promise<Socket> {
  const { host, port } = parent;
  const { addresses } =
    host.family === 0 ? await clock.dns(resolveName(host, attempt, signal)) : { addresses: [host.host] };
  const others = addresses.filter((address) => attempt.isOwnListener?.(address, port) !== true);
  if (others.length === 0)
    throw new TunnelError('proxy_loop_detected', { detail: `${parent.name} is this proxy itself` });
  const race = { port, connectTimeoutMs: attempt.connectTimeoutMs };
  return (await clock.connecting(raceAddresses(others, race, signal))).socket;
}

/** What a failure to reach the parent is to those who asked for the target. */
function unreached({ name }: Parent, error: TunnelError): TunnelError {
  const options = { detail: `${name}: ${error.message}`, cause: error };
  switch (error.reason) {
    case 'dns_error':
    case 'connection_refused':
    case 'connection_terminated':
    case 'destination_ip_unroutable':
      return new TunnelError('parent_unreachable', options);
    case 'dns_timeout':
    case 'connection_timeout':
      return new TunnelError('parent_timeout', options);
    default:
      return error;
  }
}
