import { REASONS, type Reason, TunnelError } from '../reasons.js';
import type { StopSignal } from '../stop.js';
import { formatAuthority, type Target } from '../target.js';
import type { DialClock } from './dial-clock.js';
import { findInEnvironment } from './environment.js';
import { findInPac } from './pac.js';
import type { WrittenWay } from './parent.js';
import { permittedAddresses } from './permitted.js';
import { raceAddresses } from './race.js';
import { type Attempt, goThrough } from './through-parent.js';
import type { Upstream } from './upstream.js';

/**
 * Tries the ways to the target, one after the other, once. What the policy refuses on one way is not tried on another: a parent must not lead
 * to where nothing may.
 *
 * @param signal ends it; the next way is not tried then
 * @throws TunnelError the refusal of the policy; otherwise the failure of the only way, or the most telling one, with all of them in words
 */
export function attemptOnce(
  target: Target,
  attempt: Attempt,
  clock: DialClock,
  signal: StopSignal,
): Promise<Upstream> {
  const ways = attempt.routes?.find(({ fits }) => fits(target))?.ways;
  // Most tunnels are direct, and must not pay for weighing one way against another.
  return ways === undefined
    ? goDirect(target, attempt, clock, signal)
    : tryWays(ways, target, attempt, clock, signal);
}

async function tryWays(
  ways: readonly WrittenWay[],
  target: Target,
  attempt: Attempt,
  clock: DialClock,
  signal: StopSignal,
): Promise<Upstream> {
  const failures: TunnelError[] = [];
  const inOrder = (some: readonly WrittenWay[]) => attempt.parentHealth?.order(some) ?? some;
  const waiting = [...inOrder(ways)];
  for (let way = waiting.shift(); way !== undefined; way = waiting.shift()) {
    try {
      if (way.kind === 'direct') return await goDirect(target, attempt, clock, signal);
      if (way.kind === 'parent') return await goThrough(way, target, attempt, clock, signal);
      const url = urlOf(target, attempt);
      if (way.kind === 'env') waiting.unshift(findInEnvironment(url));
      else waiting.unshift(...inOrder(await findInPac(way, url, attempt, signal)));
    } catch (error) {
      if (!(error instanceof TunnelError)) throw error;
      failures.push(error);
      if (signal.aborted || REASONS[error.reason].fault === 'policy') break;
    }
  }
  throw combined(failures).withTimings(clock.timings);
}

/** What the target is called where ways are told by URL: the scheme tells what the connection is for. */
function urlOf({ host, port }: Target, attempt: Attempt): string {
  const scheme = attempt.for === 'request' ? 'http' : 'https';
  return new URL(`${scheme}://${formatAuthority(host, port)}/`).href;
}

/** Resolves the target, keeps the addresses that `judge` lets pass, and races those. */
async function goDirect(
  target: Target,
  attempt: Attempt,
  clock: DialClock,
  signal: StopSignal,
): Promise<Upstream> {
  try {
    const permitted = await permittedAddresses(target, attempt, clock, signal);
    const { socket, address } = await clock.connecting(
      raceAddresses(permitted, { port: target.port, connectTimeoutMs: attempt.connectTimeoutMs }, signal),
    );
    return { socket, address, parent: undefined, requestForm: 'origin', timings: clock.timings };
  } catch (error) {
    throw error instanceof TunnelError ? error.withTimings(clock.timings) : error;
  }
}

/** What can be mended first: our own lack, a configuration that is wrong; then what came closest to a tunnel. */
const MOST_TELLING: readonly Reason[] = [
  'destination_denied',
  'destination_ip_prohibited',
  'destination_is_proxy',
  'resources_exhausted',
  'proxy_loop_detected',
  'parent_credentials_rejected',
  'parent_refused',
  'parent_protocol_error',
  'parent_unknown',
  'parent_timeout',
  'parent_unreachable',
];

/** Room for the details of all ways, in characters: what a {@link TunnelError} shows. */
const ROOM = 280;

function combined(failures: readonly TunnelError[]): TunnelError {
  const rank = ({ reason }: TunnelError) => (MOST_TELLING.indexOf(reason) + 100) % 100;
  const [telling, ...others] = [...failures].sort((a, b) => rank(a) - rank(b));
  if (telling === undefined) return new TunnelError('parent_unknown', { detail: 'there is no way to try' });
  if (others.length === 0 || REASONS[telling.reason].fault === 'policy') return telling;
  const share = Math.floor(ROOM / failures.length);
  const shown = failures.map(({ message }) =>
    message.length <= share ? message : `${message.slice(0, share - 3)}...`,
  );
  return new TunnelError(telling.reason, {
    detail: shown.join('; then '),
    remedy: telling.remedy,
    cause: telling.cause,
  });
}
