import type { IncomingMessage } from 'node:http';
import type { AbsoluteRequest } from '../handshake/absolute.js';
import { type DialTimings, type Reason, TunnelError } from '../reasons.js';
import { formatHttpHost } from '../target.js';
import type { Upstream } from '../upstream/dial.js';
import { parentRefusal } from '../upstream/parent.js';

/** How a request is written on its connection: a parent is told the whole URL, and who we are. */
export function addressed(
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
export function refuseChallenge(
  { statusCode, statusMessage = '' }: IncomingMessage,
  upstream: Upstream,
): void {
  if (statusCode !== 407) return;
  if (upstream.requestForm === 'absolute' && upstream.parent !== undefined)
    throw parentRefusal(upstream.parent.name, statusCode, statusMessage);
  throw new TunnelError('http_protocol_error', {
    detail: 'the destination answered 407, which is for proxies to say',
    remedy: 'check that the destination is no proxy',
  });
}

/** Reasons of an exchange, and what each is where a parent takes part in it in the place of the origin. */
const OF_A_PARENT: Partial<Record<Reason, { readonly reason: Reason; readonly what: string }>> = {
  http_protocol_error: { reason: 'parent_protocol_error', what: 'does not answer in HTTP' },
  connection_terminated: {
    reason: 'parent_protocol_error',
    what: 'closed the connection before it answered',
  },
  http_response_timeout: { reason: 'parent_timeout', what: 'took the request and did not answer in time' },
};

/** What goes wrong with a parent that takes requests is not the destination's doing. */
export function blamed(refusal: TunnelError, reached: Upstream | undefined): TunnelError {
  const isParents = reached?.requestForm === 'absolute';
  const own = isParents ? OF_A_PARENT[refusal.reason] : undefined;
  if (own === undefined) return refusal;
  return new TunnelError(own.reason, { detail: `${reached?.parent?.name} ${own.what}`, cause: refusal });
}

/** The timings of a dial, in which a parent that failed behind it counts as failed. */
export function timingsOf({ reason }: TunnelError, { parent, timings }: Upstream): DialTimings {
  if (!reason.startsWith('parent_') || timings.parents === undefined) return timings;
  const parents = timings.parents.map((each) =>
    each.name === parent?.name && each.result === 'opened' ? { ...each, result: reason } : each,
  );
  return { ...timings, parents };
}
