/** The package has no types of its own. */
declare module 'proxy-from-env' {
  /** The proxy that the environment names for a URL; empty: none. */
  export function getProxyForUrl(url: string): string;
}
