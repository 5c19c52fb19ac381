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
  if (target.family !== 0) return permitted({ name: target.host, addresses: [target.host] }, attempt);
  return permitted(await resolved(target, attempt, clock, signal), attempt);
}

function permitted({ name, addresses }: Resolved, attempt: DialRequest): readonly string[] {
  const judged = addresses.map((address) => ({ address, refusal: attempt.judge(address, name) }));
  const passed = judged.filter(({ refusal }) => refusal === undefined).map(({ address }) => address);
  const refusal = judged[0]?.refusal;
  if (passed.length === 0 && refusal !== undefined) throw refusal;
  return passed;
}

async function resolved(
  target: Target,
  attempt: DialOptions,
  clock: DialClock,
  signal: StopSignal,
): Promise<Resolved> {
  try {
    return await clock.dns(resolveName(target, attempt, signal));
  } catch (error) {
    if (!(error instanceof TunnelError) || error.reason !== 'connection_timeout') throw error;
    // The deadline of the dial came before any address was known.
    throw new TunnelError('dns_timeout', { detail: error.message, remedy: error.remedy, cause: error });
  }
}
