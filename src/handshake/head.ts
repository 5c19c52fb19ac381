import type { IncomingMessage } from 'node:http';
import { TunnelError } from '../reasons.js';

/** The most header fields of a request. */
export const MAX_HEADER_FIELDS = 100;
/** The largest header block, in bytes. */
export const MAX_HEADER_BYTES = 16 * 1024;

/** What the head of a request says whatever its method is. */
export interface RequestHead {
  /** The value of `Proxy-Authorization`; undefined where there is none. */
  readonly credentials: string | undefined;
  /** The value of `User-Agent`, for the log. */
  readonly userAgent: string | undefined;
  /** The values of `Content-Length` and `Transfer-Encoding`; undefined where there is none. */
  readonly contentLength: string | undefined;
  readonly transferEncoding: string | undefined;
  /** The entries of `Via` (RFC 9110 §7.6.3), in order: the proxies that the request has come through. */
  readonly via: readonly string[];
}

/**
 * Reads the head of a request that Node's parser let through, and refuses what that parser does not (RFC 9112 §3.2; measured
 * on Node 20): a missing or second Host, a foreign version, too many fields, two sets of credentials.
 *
 * @throws TunnelError `http_request_error` or `header_too_large`
 */
export function readHead(message: IncomingMessage): RequestHead {
  if (message.rawHeaders.length / 2 > MAX_HEADER_FIELDS) {
    throw new TunnelError('header_too_large', {
      detail: `the request has more than ${MAX_HEADER_FIELDS} header fields`,
    });
  }
  if (message.httpVersion !== '1.1' && message.httpVersion !== '1.0') {
    throw malformed(`the HTTP version is ${message.httpVersion}`, 'send HTTP/1.1');
  }
  let hosts = 0;
  let credentials: string | undefined;
  let userAgent: string | undefined;
  let contentLength: string | undefined;
  let transferEncoding: string | undefined;
  let via = NO_ENTRIES;
  for (const [name, value] of headerFields(message.rawHeaders)) {
    switch (name) {
      case 'host':
        hosts += 1;
        break;
      case 'proxy-authorization':
        if (credentials !== undefined)
          throw malformed('there is more than one Proxy-Authorization header', 'send one');
        credentials = value;
        break;
      case 'user-agent':
        userAgent ??= value;
        break;
      case 'transfer-encoding':
        transferEncoding = transferEncoding === undefined ? value : `${transferEncoding}, ${value}`;
        break;
      case 'content-length':
        contentLength = value;
        break;
      case 'via':
        via = [...via, ...entriesOf(value)];
    }
  }
  if (hosts > 1) throw malformed('there is more than one Host header', 'send one');
  // OpenVPN sends HTTP/1.0 without Host, which HTTP/1.0 allows.
  if (hosts === 0 && message.httpVersion === '1.1')
    throw malformed('the Host header is missing', 'send Host: host:port');
  return { credentials, userAgent, contentLength, transferEncoding, via };
}

const NO_ENTRIES: readonly string[] = [];

function entriesOf(via: string): readonly string[] {
  return via
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
}

/** Names in lower case, with their values. */
export function* headerFields(raw: readonly string[]): Generator<readonly [string, string]> {
  for (let i = 0; i + 1 < raw.length; i += 2) yield [raw[i]?.toLowerCase() ?? '', raw[i + 1] ?? ''];
}

/** A request that is against the rules of HTTP. */
export function malformed(detail: string, remedy: string): TunnelError {
  return new TunnelError('http_request_error', { detail, remedy });
}
