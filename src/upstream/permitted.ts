import { TunnelError } from '../reasons.js';
import type { StopSignal } from '../stop.js';
import type { Target } from '../target.js';
import type { DialClock } from './dial-clock.js';
import { type Resolved, resolveName } from './resolve.js';
import type { DialOptions, DialRequest } from './upstream.js';

/**
 * The addresses of a target that `judge` lets pass, resolved once: what was judged is what is dialled.
 *
 * @throws TunnelError the refusal where none passes; `dns_error`, `dns_timeout`
 */
export async function permittedAddresses(
  target: Target,
  attempt: DialOptions & DialRequest,
  clock: DialClock,
  signal: StopSignal,
): Promise<readonly string[]> {
  const { name, addresses } = await resolved(target, attempt, clock, signal);
  const judged = addresses.map((address) => ({ address, refusal: attempt.judge(address, name) }));
  const permitted = judged.filter(({ refusal }) => refusal === undefined).map(({ address }) => address);
  const refusal = judged[0]?.refusal;
  if (permitted.length === 0 && refusal !== undefined) throw refusal;
  return permitted;
}

async function resolved(
  target: Target,
  attempt: DialOptions,
  clock: DialClock,
  signal: StopSignal,
): Promise<Resolved> {
  if (target.family !== 0) return { name: target.host, addresses: [target.host] };
  try {
    return await clock.dns(resolveName(target, attempt, signal));
  } catch (error) {
    if (!(error instanceof TunnelError) || error.reason !== 'connection_timeout') throw error;
    // The deadline of the dial came before any address was known.
    throw new TunnelError('dns_timeout', { detail: error.message, remedy: error.remedy, cause: error });
  }
}
