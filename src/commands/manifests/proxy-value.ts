import { type ProxyUrl, writeProxyUrl } from '../mtc/proxy-url.js';
import { ManifestFailure, type Material } from './manifest.js';

/** Where the proxy is, and as whom, with the value of `stunnel_tcp_proxy` that says so. Throws `ManifestFailure`. */
export function proxyValue({
  proxy,
  username = '',
  password = '',
}: Material): ProxyUrl & { readonly url: string } {
  const parts = { host: proxy?.host ?? '', port: proxy?.port ?? 0, username, password };
  const written = writeProxyUrl(parts);
  if ('problem' in written)
    throw new ManifestFailure(
      `stunnel_tcp_proxy cannot say --proxy with these --username and --password: ${written.problem}; ${written.fix}`,
    );
  return { ...parts, ...written };
}
