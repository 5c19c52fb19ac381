import { isIPv4, type Socket } from 'node:net';
import { TunnelError } from '../reasons.js';
import type { StopSignal } from '../stop.js';
import { formatAuthority, type Target } from '../target.js';
import { askConnect } from './ask-connect.js';
import { askSocks } from './ask-socks.js';
import type { DialClock } from './dial-clock.js';
import { authorizationOf, type Parent } from './parent.js';
import { permittedAddresses } from './permitted.js';
import { interleaveFamilies, raceAddresses } from './race.js';
import { resolveName } from './resolve.js';
import { secure } from './secure.js';
import type { DialOptions, DialRequest, Upstream } from './upstream.js';

/** Everything that a try needs to know. */
export type Attempt = DialOptions & DialRequest;

/** So many addresses of a target are told to a SOCKS server that does not resolve, one after the other. */
const MAX_DESTINATIONS = 4;

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
  const isAbsolute = attempt.for === 'request' && parent.scheme.startsWith('http');
  const destinations = await destinationsFor(parent, target, attempt, clock, signal);
  for (const [at, host] of destinations.entries()) {
    try {
      const socket = await open(parent, { ...target, host }, attempt, clock, signal);
      clock.tried({ name: parent.name, result: 'opened' });
      attempt.parentHealth?.connected(parent.name, true);
      return {
        socket,
        address: host === target.host && target.family === 0 ? undefined : host,
        parent: { name: parent.name, ...(isAbsolute ? { authorization: authorizationOf(parent) } : {}) },
        requestForm: isAbsolute ? 'absolute' : 'origin',
        timings: clock.timings,
      };
    } catch (error) {
      if (!(error instanceof TunnelError)) throw error;
      const failure = unreached(parent, error);
      clock.tried({ name: parent.name, result: failure.reason });
      if (failure.reason.startsWith('parent_'))
        attempt.parentHealth?.connected(parent.name, failure === error);
      // Another address may be to its liking, or the next way.
      if (failure.reason !== 'parent_refused' || at === destinations.length - 1) throw failure;
    }
  }
  throw new TunnelError('destination_ip_unroutable', {
    detail: `${formatAuthority(target.host, target.port)} has no IPv4 address, and ${parent.name} takes no other`,
    remedy: 'use socks5h:// for that parent, or another one',
  });
}

/** What the parent may be told of the target, in order of preference: the name, or addresses. */
async function destinationsFor(
  { scheme }: Parent,
  target: Target,
  attempt: Attempt,
  clock: DialClock,
  signal: StopSignal,
): Promise<readonly string[]> {
  const takesIpv4Alone = scheme.startsWith('socks4');
  if (target.family === 0 && scheme !== 'socks4' && scheme !== 'socks5') {
    const refusal = attempt.judge(undefined, target.host);
    if (refusal !== undefined) throw refusal;
    return [target.host];
  }
  const permitted = await permittedAddresses(target, attempt, clock, signal);
  return interleaveFamilies(permitted)
    .filter((address) => !takesIpv4Alone || isIPv4(address))
    .slice(0, MAX_DESTINATIONS);
}

/** A connection that leads to the target, or to a parent that takes requests in absolute-form. */
async function open(
  parent: Parent,
  destination: Target,
  { viaName, via = [], ...attempt }: Attempt,
  clock: DialClock,
  signal: StopSignal,
): Promise<Socket> {
  const options = { parent, timeoutMs: attempt.parentTimeoutMs, signal };
  const connection = await connectTo(parent, attempt, clock, signal);
  if (parent.scheme.startsWith('socks')) {
    await clock.connecting(askSocks(connection, destination, options));
    return connection;
  }
  const socket = parent.scheme === 'https' ? await clock.connecting(secure(connection, options)) : connection;
  if (attempt.for === 'request') return socket;
  const entries = viaName === undefined ? via : [...via, `1.1 ${viaName}`];
  await clock.connecting(askConnect(socket, destination, { ...options, via: entries }));
  return socket;
}

/** A connection to the parent itself. */
async function connectTo(
  { name, host, port }: Parent,
  options: DialOptions,
  clock: DialClock,
  signal: StopSignal,
): Promise<Socket> {
  const { addresses } =
    host.family === 0 ? await clock.dns(resolveName(host, options, signal)) : { addresses: [host.host] };
  const others = addresses.filter((address) => options.isOwnListener?.(address, port) !== true);
  if (others.length === 0)
    throw new TunnelError('proxy_loop_detected', { detail: `${name} is this proxy itself` });
  const race = { port, connectTimeoutMs: options.connectTimeoutMs };
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
