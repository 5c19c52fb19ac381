import type { IncomingMessage } from 'node:http';
import { TunnelError } from '../reasons.js';

/** The entries of `Via` (RFC 9110 §7.6.3), in order: the proxies that a request has come through. */
export function viaEntries({ rawHeaders }: Pick<IncomingMessage, 'rawHeaders'>): readonly string[] {
  const entries: string[] = [];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    if (rawHeaders[i]?.toLowerCase() !== 'via') continue;
    entries.push(...(rawHeaders[i + 1] ?? '').split(',').map((entry) => entry.trim()));
  }
  return entries.filter((entry) => entry !== '');
}

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
