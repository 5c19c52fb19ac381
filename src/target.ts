import ipaddr from 'ipaddr.js';

/** What a client asked for: a host and a port, normalised. Build one with {@link parseTarget} only. */
export interface Target {
  /** A name in lower case without trailing dot, or an IP literal in canonical form, IPv6 without brackets. */
  readonly host: string;
  /** 1–65535. */
  readonly port: number;
  /** 4 or 6 for an IP literal, 0 for a name. */
  readonly family: 0 | 4 | 6;
  /** The name was written with a trailing dot: no search domain is tried. */
  readonly absolute?: true;
}

/** Why an authority is not a target. */
export interface TargetProblem {
  readonly problem: string;
}

const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;

/**
 * Parses the authority-form of a CONNECT request (RFC 9112 §3.2.3, RFC 9110 §9.3.6: no default port) into a {@link Target}.
 * Strict: what two parsers could read in two ways (userinfo, zone ids, `127.1`, `0x7f.1`, percent encoding) is a problem,
 * so that what the policy judges is what is dialled.
 */
export function parseTarget(authority: string): Target | TargetProblem {
  if (authority.includes('@'))
    return { problem: 'it holds user information; credentials belong in Proxy-Authorization' };
  if (authority.includes('://')) return { problem: 'it is a URL; CONNECT takes host:port alone' };
  const split = splitAuthority(authority);
  if ('problem' in split) return split;
  const port = parsePort(split.port);
  if (typeof port !== 'number') return port;
  const host = split.bracketed ? parseIpv6(split.host) : parseHost(split.host);
  return 'problem' in host ? host : { ...host, port };
}

/** What an absolute-form request asks for. */
export interface HttpTarget {
  readonly target: Target;
  /** Path and query as they were written: the origin-form (RFC 9112 §3.2.1), or undefined where the URL has neither. */
  readonly path: string | undefined;
}

/** The default port of `http`, also where a colon stands without one (RFC 9110 §4.2.1). */
const HTTP_PORT = 80;

/**
 * Parses an absolute-form request target (RFC 9112 §3.2.2). As strict about the host as {@link parseTarget}; path and query are
 * the origin's business and stay as they are.
 */
export function parseHttpUrl(url: string): HttpTarget | TargetProblem {
  const [, scheme = '', authority = '', path] = /^([a-z][a-z0-9+.-]*):\/\/([^/?]*)(.*)$/is.exec(url) ?? [];
  if (scheme.toLowerCase() === 'https') return { problem: 'https goes through CONNECT host:port' };
  if (scheme.toLowerCase() !== 'http') return { problem: 'only http:// URLs are forwarded' };
  if (url.includes('#')) return { problem: 'it has a fragment, which is not for the server' };
  const hasPort = /:[^\]]+$/.test(authority);
  const target = parseTarget(hasPort ? authority : `${authority.replace(/:$/, '')}:${HTTP_PORT}`);
  if ('problem' in target) return target;
  return { target, path: path === '' ? undefined : path?.replace(/^\?/, '/?') };
}

/** The host and port of an http URL as `Host` has it (RFC 9110 §7.2): the default port is left out. */
export function formatHttpHost({ host, port }: Target): string {
  return formatAuthority(host, port).replace(new RegExp(`:${HTTP_PORT}$`), '');
}

/** `host:port`, with brackets round an IPv6 address (RFC 3986 §3.2.2). */
export function formatAuthority(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * The number behind a decimal port: 1–65535 without sign, leading zero or blank.
 */
export function parsePort(text: string): number | TargetProblem {
  if (text === '') return { problem: 'it has no port; CONNECT has no default port' };
  if (!/^[1-9][0-9]{0,4}$/.test(text) || Number(text) > 65535) {
    return { problem: 'its port is not a decimal number from 1 to 65535' };
  }
  return Number(text);
}

/** A host without brackets: a dotted IPv4 address or a name, normalised. */
export function parseHost(text: string): Omit<Target, 'port'> | TargetProblem {
  const host = text.toLowerCase().replace(/\.$/, '');
  if (host === '') return { problem: 'it has no host' };
  // Leading zeros are refused with the other spellings below: 010.0.0.1 is 8.0.0.1 to some and 10.0.0.1 to others.
  if (ipaddr.IPv4.isValidFourPartDecimal(host)) return { host, family: 4 };
  const labels = host.split('.');
  // A host whose last label is a number is an IPv4 address to inet_aton(3) and to URL parsers, and a name to DNS.
  if (/^(?:[0-9]+|0x[0-9a-f]*)$/.test(labels.at(-1) ?? '')) {
    return { problem: 'its host looks like an IPv4 address but is not four decimal numbers' };
  }
  if (host.length > 253) return { problem: 'its name is longer than 253 characters' };
  for (const label of labels) {
    if (label.length > 63) return { problem: 'a label of its name is longer than 63 characters' };
    if (!LABEL.test(label)) return { problem: 'its host is neither a name nor an address' };
  }
  return { host, family: 0, ...(text.endsWith('.') ? { absolute: true } : {}) };
}

/** An IPv6 address without brackets, in canonical form (RFC 5952). */
export function parseIpv6(text: string): Omit<Target, 'port'> | TargetProblem {
  if (text.includes('%')) return { problem: 'it has a zone id, which means nothing on another machine' };
  if (!ipaddr.IPv6.isValid(text)) return { problem: 'what stands in brackets is not an IPv6 address' };
  const address = ipaddr.IPv6.parse(text);
  if (address.isIPv4MappedAddress()) return { host: address.toIPv4Address().toString(), family: 4 };
  return { host: address.toRFC5952String(), family: 6 };
}

function splitAuthority(text: string): { host: string; port: string; bracketed: boolean } | TargetProblem {
  if (text.startsWith('[')) {
    const match = /^\[([^[\]]*)\](?::(.*))?$/.exec(text);
    if (match === null) return { problem: 'its brackets do not enclose a host followed by :port' };
    return { host: match[1] ?? '', port: match[2] ?? '', bracketed: true };
  }
  const colon = text.lastIndexOf(':');
  if (colon === -1) return { host: text, port: '', bracketed: false };
  if (text.indexOf(':') !== colon) return { problem: 'an IPv6 address needs brackets: [2001:db8::1]:443' };
  return { host: text.slice(0, colon), port: text.slice(colon + 1), bracketed: false };
}
