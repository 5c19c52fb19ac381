import type { IncomingMessage } from 'node:http';
import { TunnelError } from '../reasons.js';
import { formatAuthority, parseTarget, type Target } from '../target.js';
import { malformed, type RequestHead, readHead } from './head.js';

/** The longest target, in bytes: a name of 253 characters fits several times over. */
export const MAX_TARGET_BYTES = 2048;
/** How much of a connection's beginning tells what it is, in bytes: a request line that is not too long, and its end. */
const OPENING_BYTES = 9 * 1024;
/** How much of a bad target is shown, in characters: what is wrong with it must fit behind. */
const MAX_SHOWN_TARGET = 100;

/** What a CONNECT request says. */
export interface ConnectRequest extends RequestHead {
  readonly target: Target;
}

/**
 * Reads the head of a CONNECT request that Node's parser let through, and refuses what that parser does not
 * (RFC 9110 §9.3.6: no content), besides what {@link readHead} refuses.
 *
 * @throws TunnelError `http_request_error`, `target_invalid`, `uri_too_long` or `header_too_large`
 */
export function readConnect(message: IncomingMessage): ConnectRequest {
  const authority = message.url ?? '';
  if (Buffer.byteLength(authority) > MAX_TARGET_BYTES) throw new TunnelError('uri_too_long');
  const head = readHead(message);
  if (head.transferEncoding !== undefined)
    throw malformed('CONNECT has no content', 'drop Transfer-Encoding');
  if (head.contentLength !== undefined && head.contentLength !== '0')
    throw malformed('CONNECT has no content', 'drop Content-Length');
  return { ...head, target: targetOf(authority) };
}

/** Many tunnels lead to few targets, which need be parsed, and kept in memory, only once. */
const targets = new Map<string, Target>();
const TARGETS_REMEMBERED = 256;

/** Equal targets become the same object, so that what is known of one is known of all, and is in memory once. */
export function remembered(target: Target): Target {
  const key = formatAuthority(target.host + (target.absolute ? '.' : ''), target.port);
  const known = targets.get(key);
  if (known === undefined) remember(key, target);
  return known ?? target;
}

function targetOf(authority: string): Target {
  const known = targets.get(authority);
  if (known !== undefined) return known;
  const target = parseTarget(authority);
  if ('problem' in target) {
    throw targetInvalid(authority, target.problem);
  }
  remember(authority, target);
  return target;
}

function remember(authority: string, target: Target): void {
  if (targets.size >= TARGETS_REMEMBERED) targets.clear();
  targets.set(authority, target);
}

/** A request that is HTTP, but not CONNECT. */
export function notConnect(message: IncomingMessage): TunnelError {
  return new TunnelError('method_not_allowed', {
    detail: `${message.method} is served for http:// URLs only, not for a path of the proxy`,
  });
}

/** The beginning of a connection, with what has just been read from it; bounded. {@link parserFailure} asks for it. */
export function extendOpening(opening: Buffer, chunk: Buffer): Buffer {
  const room = OPENING_BYTES - opening.length;
  if (opening.length === 0) return chunk.subarray(0, room);
  return room > 0 ? Buffer.concat([opening, chunk.subarray(0, room)]) : opening;
}

/**
 * What a connection that Node's parser gave up on was. The parser's error knows no more than the last packet, and a
 * request may come in many.
 *
 * @param opening the beginning of the connection, see {@link extendOpening}
 * @returns the refusal; 400, 414, 431 or 501
 */
export function parserFailure(error: Error & { readonly code?: string }, opening: Buffer): TunnelError {
  const text = opening.toString('latin1');
  const foreign = FOREIGN_PROTOCOLS.find(({ begins }) => begins.test(text));
  if (foreign !== undefined) return new TunnelError(foreign.reason, { cause: error });
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW': {
      // A server ignores empty lines before a request (RFC 9112 §2.2).
      const hasRequestLine = text.trimStart().includes('\n');
      return new TunnelError(hasRequestLine ? 'header_too_large' : 'uri_too_long', { cause: error });
    }
    case 'HPE_INVALID_URL':
      return new TunnelError('target_invalid', {
        detail: 'the target holds a character that neither a name nor an address has',
        cause: error,
      });
    case 'HPE_INVALID_METHOD': {
      const method = /^\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+) \S+ HTTP\/1\.[01]\r?\n/.exec(text)?.[1];
      if (method === undefined) return new TunnelError('not_http', { cause: error });
      const detail = `the method ${method.slice(0, 32)} is unknown`;
      return new TunnelError('method_unknown', { detail, cause: error });
    }
    case 'HPE_INVALID_EOF_STATE':
      return new TunnelError('http_request_error', {
        detail: 'the client ended the request before it was complete',
        cause: error,
      });
    default: {
      const words = error.message.replace(/^Parse Error:? ?/, '');
      const detail = `the request does not parse: ${words}`;
      return new TunnelError('http_request_error', { detail, cause: error });
    }
  }
}

/** Protocols that are often spoken to a proxy's port by mistake, by their first bytes. */
const FOREIGN_PROTOCOLS = [
  { reason: 'tls_on_plain_port', begins: /^\x16\x03/ },
  { reason: 'ssh_on_http_port', begins: /^SSH-/ },
  { reason: 'socks_on_http_port', begins: /^[\x04\x05]/ },
  { reason: 'http2_on_http1_port', begins: /^PRI \* HTTP\/2/ },
] as const;

/** A refusal that shows the bad target: without what stands before an @, or in the path of a URL, which is often a secret. */
export function targetInvalid(given: string, problem: string, remedy?: string): TunnelError {
  const harmless = given
    // Where the user information of a URL ends is anybody's guess once it is written wrongly: the password may hold a slash.
    .replace(/^([a-z][a-z0-9+.-]*:\/\/).*@.*$/is, '$1***')
    .replace(/^([a-z][a-z0-9+.-]*:\/\/[^/?#]*)[/?#].*$/is, '$1/')
    .replace(/^.*@/s, '***@');
  const shown = JSON.stringify(
    harmless.length <= MAX_SHOWN_TARGET ? harmless : `${harmless.slice(0, MAX_SHOWN_TARGET)}...`,
  );
  return new TunnelError('target_invalid', {
    detail: `${shown} is no target: ${problem}`,
    ...(remedy === undefined ? {} : { remedy }),
  });
}
