import { getProxyForUrl } from 'proxy-from-env';
import { TunnelError } from '../reasons.js';
import { parseParent, type Way } from './parent.js';

/**
 * What `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or lower case, say of a URL. proxy-from-env reads the
 * environment of the process: names in `NO_PROXY` match as they are or behind `.` or `*`, and address ranges do not.
 *
 * @throws TunnelError `parent_unknown` where they name something that is no proxy
 */
export function findInEnvironment(url: string): Way {
  const text = getProxyForUrl(url);
  if (text === '') return { kind: 'direct' };
  // Without a version curl means 4, Chromium 5, and socks-proxy-agent 5 with the name.
  const parent = parseParent(text.replace(/^socks:/i, 'socks5h:'), { http: 80, https: 443 });
  if (!('problem' in parent)) return parent;
  throw new TunnelError('parent_unknown', {
    detail: `the proxy that the environment names for ${url} ${parent.problem}`,
    remedy: 'correct HTTP_PROXY, HTTPS_PROXY or ALL_PROXY where the proxy runs',
  });
}
