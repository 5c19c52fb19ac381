import { TunnelError } from '../reasons.js';
import { formatAuthority, parseHost, parseIpv6, parsePort, type Target } from '../target.js';

/** What is spoken to a parent. SOCKS 4 and 5 are told an address that was resolved here, 4a and 5h the name. */
export const PARENT_SCHEMES = ['http', 'https', 'socks4', 'socks4a', 'socks5', 'socks5h'] as const;

/** A member of {@link PARENT_SCHEMES}. */
export type ParentScheme = (typeof PARENT_SCHEMES)[number];

/** Another proxy on the way to the target. */
export interface Parent {
  readonly kind: 'parent';
  readonly scheme: ParentScheme;
  /** `scheme://host:port`: what messages, log and metrics call it. Never its credentials. */
  readonly name: string;
  readonly host: Omit<Target, 'port'>;
  readonly port: number;
  /** Decoded. SOCKS 4 has no password. */
  readonly credentials?: { readonly user: string; readonly password: string };
}

/** A file that says which proxies lead where (`FindProxyForURL`). */
export interface PacWay {
  readonly kind: 'pac';
  /** `pac+file://`, `pac+http://` or `pac+https://`. May hold a secret. */
  readonly url: string;
  /** What messages call it: the same without credentials and query. */
  readonly name: string;
}

/** A way that ends at a target, or at a parent. */
export type Way = { readonly kind: 'direct' } | Parent;

/** One way to a target, as an operator writes it; `pac` and `env` tell ways for each target. */
export type WrittenWay = Way | PacWay | { readonly kind: 'env' };

/** Where a target may be reached: the ways are tried in order. */
export interface Route {
  /** Whether it is for this target. */
  readonly fits: (target: Target) => boolean;
  readonly ways: readonly WrittenWay[];
}

/** What is wrong with a way. It never holds the text: a password may be anywhere in it. */
export interface WayProblem {
  readonly problem: string;
}

/**
 * Parses `WAY[,WAY...]`, as `--parent` takes them.
 *
 * @returns at least one way, or what is wrong with the text
 */
export function parseWays(text: string): readonly WrittenWay[] | WayProblem {
  const ways: WrittenWay[] = [];
  for (const [at, part] of text.split(',').entries()) {
    const way = parseWay(part);
    if ('problem' in way)
      return text.includes(',')
        ? { problem: `has a mistake: the ${ORDINALS[at] ?? 'fifth or later'} of its ways ${way.problem}` }
        : way;
    ways.push(way);
  }
  return ways;
}

const ORDINALS = ['first', 'second', 'third', 'fourth'];

function parseWay(text: string): WrittenWay | WayProblem {
  if (text === 'direct' || text === 'env') return { kind: text };
  if (text.startsWith('pac+')) return parsePac(text);
  return parseParent(text);
}

function parsePac(text: string): PacWay | WayProblem {
  const problem = 'is not pac+file:///PATH, pac+http://… or pac+https://…';
  if (!/^pac\+(?:file|https?):\/\//.test(text)) return { problem };
  try {
    const { protocol, host, pathname } = new URL(text.slice('pac+'.length));
    if ((host === '') !== (protocol === 'file:')) return { problem };
    return { kind: 'pac', url: text, name: `pac+${protocol}//${host}${pathname}` };
  } catch {
    return { problem };
  }
}

/**
 * Parses `scheme://[user:password@]host[:port]`.
 *
 * @param defaultPorts what stands for a port that is not written; by default only SOCKS has one, 1080 (RFC 1928 §3)
 */
export function parseParent(
  text: string,
  defaultPorts: Partial<Record<ParentScheme, number>> = {},
): Parent | WayProblem {
  const match = /^([a-z0-9+]+):\/\/(?:([^/?#]*)@)?([^/?#@]*)(\/?)(.*)$/is.exec(text);
  const scheme = PARENT_SCHEMES.find((known) => known === match?.[1]?.toLowerCase());
  if (match === null || scheme === undefined)
    return {
      problem: `${/^[^:/]+:[0-9]+$/.test(text) ? 'has no scheme: write http://HOST:PORT; it ' : ''}is none of direct, env, pac+file://, pac+http://, pac+https://, ${PARENT_SCHEMES.map((known) => `${known}://`).join(', ')}`,
    };
  const [, , userInfo, authority = '', , rest = ''] = match;
  if (rest !== '')
    return { problem: 'has something behind its host and port; write %2F for a / in a password' };
  const place = parsePlace(
    authority,
    defaultPorts[scheme] ?? (scheme.startsWith('socks') ? 1080 : undefined),
  );
  if ('problem' in place) return place;
  const { host, port } = place;
  const parent = {
    kind: 'parent',
    scheme,
    name: `${scheme}://${formatAuthority(host.host, port)}`,
    host,
    port,
  } as const;
  if (userInfo === undefined) return parent;
  const credentials = parseCredentials(userInfo, scheme);
  return 'problem' in credentials ? credentials : { ...parent, credentials };
}

function parsePlace(
  authority: string,
  defaultPort: number | undefined,
): { readonly host: Omit<Target, 'port'>; readonly port: number } | WayProblem {
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::([0-9]*))?$/.exec(authority);
  if (match === null)
    return { problem: 'has no host:port, IPv6 in brackets; write %2C for a comma in a password' };
  const [, bracketed, plain = '', portText] = match;
  if (portText === undefined && defaultPort === undefined)
    return { problem: 'has no port: write host:port, and %2C for a comma in a password' };
  const host = bracketed === undefined ? parseHost(plain) : parseIpv6(bracketed);
  if ('problem' in host) return { problem: 'has a host that is neither a name nor an address' };
  const port = portText === undefined ? defaultPort : parsePort(portText);
  return typeof port === 'number' ? { host, port } : { problem: 'has a port that is not from 1 to 65535' };
}

/** A length is one byte (RFC 1929 §2). */
const MAX_SOCKS_CREDENTIAL_BYTES = 255;

function parseCredentials(
  userInfo: string,
  scheme: ParentScheme,
): { readonly user: string; readonly password: string } | WayProblem {
  const [rawUser = '', rawPassword, ...more] = userInfo.split(':');
  if (more.length > 0)
    return { problem: 'has a colon too many before its @: write %3A for one in a password' };
  const user = decoded(rawUser);
  const password = decoded(rawPassword ?? '');
  if (user === undefined || password === undefined)
    return { problem: 'has credentials that do not decode: write %25 for a % in a password' };
  if (/\p{Cc}/u.test(user + password)) return { problem: 'has a control character in its credentials' };
  const isSocks4 = scheme.startsWith('socks4');
  if (user === '' || (rawPassword === undefined && !isSocks4))
    return { problem: 'has credentials that are not user:password' };
  if (isSocks4 && rawPassword !== undefined)
    return { problem: 'has a password, which SOCKS 4 does not know' };
  if (user.includes(':') && !scheme.startsWith('socks'))
    return { problem: 'has a colon in its user name, which Basic credentials cannot hold' };
  if (scheme.startsWith('socks5') && [user, password].some(isTooLong))
    return { problem: `has a user name or password of more than ${MAX_SOCKS_CREDENTIAL_BYTES} bytes` };
  return { user, password };
}

function isTooLong(text: string): boolean {
  return Buffer.byteLength(text) > MAX_SOCKS_CREDENTIAL_BYTES;
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** The value of `Proxy-Authorization` for a parent (RFC 7617); undefined where it needs none. */
export function authorizationOf({ credentials }: Parent): string | undefined {
  return credentials === undefined
    ? undefined
    : `Basic ${Buffer.from(`${credentials.user}:${credentials.password}`).toString('base64')}`;
}

/** The status that a parent refused a request with: the cause of a {@link parentRefusal}. */
export class ParentAnswer extends Error {
  override readonly name = 'ParentAnswer';
  readonly status: number;

  constructor(status: number) {
    super(`a parent answered ${status}`);
    this.status = status;
  }
}

/**
 * What a parent's refusal of a CONNECT, or its 407 to another request, is to a client of ours: its words, but neither its status, which would be taken for ours, nor
 * its challenge.
 *
 * @param name {@link Parent.name}
 * @param proxyStatus the parent's `Proxy-Status` (RFC 9209), which may tell of a loop
 */
export function parentRefusal(name: string, status: number, phrase: string, proxyStatus = ''): TunnelError {
  const cause = new ParentAnswer(status);
  const detail = `${name} answered ${status} ${phrase}`.trim();
  if (/;\s*error=proxy_loop_detected\b/.test(proxyStatus))
    return new TunnelError('proxy_loop_detected', { detail, cause });
  // tinyproxy answers a wrong password with 401.
  const isAboutUs = status === 407 || status === 401;
  return new TunnelError(isAboutUs ? 'parent_credentials_rejected' : 'parent_refused', {
    detail,
    cause,
  });
}
