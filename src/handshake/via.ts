import { TunnelError } from '../reasons.js';

/**
 * Refuses a request that has been here before.
 *
 * @param ownName the pseudonym that this process sends in `Via`; undefined: none
 * @throws TunnelError `proxy_loop_detected`
 */
export function refuseLoop(via: readonly string[], ownName: string | undefined): void {
  if (ownName === undefined || !via.some((entry) => entry.split(/\s+/)[1] === ownName)) return;
  throw new TunnelError('proxy_loop_detected', {
    detail: `the request has been here before: it came through ${via.length} proxies, ${ownName} among them`,
  });
}
