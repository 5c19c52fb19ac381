import type { IncomingMessage } from 'node:http';
import { TunnelError } from '../reasons.js';
import { formatHttpHost, parseHttpUrl, type Target } from '../target.js';
import { remembered, targetInvalid } from './connect.js';
import { endToEnd, tokensOf, withVia } from './fields.js';
import { malformed, type RequestHead, readHead } from './head.js';
import { refuseLoop } from './via.js';

/** The longest URL, in bytes: RFC 9110 §4.1 wants 8000 at least to be taken. */
const MAX_URL_BYTES = 8192;

/** How absolute-form requests are forwarded. */
export interface ForwardingOptions {
  /** Protocols that a connection may switch to by `Upgrade`, as they are written there. */
  readonly upgrades: readonly string[];
  /** What we are called in `Via`, like no other process; undefined: no `Via`, and no loop is noticed. */
  readonly pseudonym: string | undefined;
}

/** What an absolute-form request asks for. */
export interface AbsoluteRequest extends RequestHead {
  readonly target: Target;
  readonly method: string;
  /** In origin-form: path and query (RFC 9112 §3.2.1), or `*`. */
  readonly path: string;
  /** The protocols among {@link ForwardingOptions.upgrades} that the client offers to switch to, in its order (RFC 9110 §7.8). */
  readonly upgrade: readonly string[];
  readonly hasContent: boolean;
  /** The fields for the origin, names and values in turn. */
  readonly fields: readonly string[];
}

/** Whether the request target is a URL, and not a path or `*`. */
export function isAbsoluteForm({ url = '' }: IncomingMessage): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(url);
}

/**
 * Reads an absolute-form request (RFC 9112 §3.2.2) that Node's parser let through, and writes the fields that its origin gets.
 *
 * @throws TunnelError `http_request_error`, `target_invalid`, `uri_too_long`, `header_too_large`, `method_not_allowed` or
 *   `proxy_loop_detected`
 */
export function readAbsolute(message: IncomingMessage, options: ForwardingOptions): AbsoluteRequest {
  const { method = '', url = '' } = message;
  if (Buffer.byteLength(url) > MAX_URL_BYTES)
    throw new TunnelError('uri_too_long', { remedy: `a URL may have ${MAX_URL_BYTES} bytes` });
  const head = readHead(message);
  const { transferEncoding } = head;
  // RFC 9112 §6.1: somebody before us may have framed it in another way.
  if (transferEncoding !== undefined && message.httpVersion === '1.0')
    throw malformed('HTTP/1.0 has no Transfer-Encoding', 'send Content-Length, or HTTP/1.1');
  // What else a coding does would be lost where the message is framed anew.
  if (transferEncoding !== undefined && transferEncoding.trim().toLowerCase() !== 'chunked')
    throw malformed(`the transfer coding ${transferEncoding} is unknown`, 'send Transfer-Encoding: chunked');
  const parsed = parseHttpUrl(url);
  if ('problem' in parsed)
    throw targetInvalid(
      url,
      parsed.problem,
      'write http://host[:port]/path; TLS goes through CONNECT host:port',
    );
  refuseLoop(head.via, options.pseudonym);
  const upgrade = hasContent(message) ? [] : offered(message, options.upgrades);
  return {
    ...head,
    target: remembered(parsed.target),
    method,
    path: parsed.path ?? (method === 'OPTIONS' ? '*' : '/'),
    upgrade,
    hasContent: hasContent(message),
    fields: withVia(fieldsFor(message, head, parsed.target, upgrade), message, options.pseudonym),
  };
}

/**
 * The fields of an answer for the client.
 *
 * @param isChunked whether the client gets it in chunks: only then can there be trailers
 */
export function answerFields(
  incoming: IncomingMessage,
  isChunked: boolean,
  { pseudonym }: ForwardingOptions,
): string[] {
  const dropped = [
    ...(isChunked ? [] : ['trailer']),
    // RFC 9110 §8.6: a 204 has no content whatever it says.
    ...(incoming.statusCode === 204 ? ['content-length'] : []),
  ];
  return withVia(endToEnd(incoming.rawHeaders, dropped), incoming, pseudonym);
}

/**
 * The head of an interim answer, or of the 101 behind which the connection is a tunnel.
 *
 * @param more fields of ours, names and values in turn
 */
export function interimHead(
  incoming: Pick<IncomingMessage, 'statusCode' | 'statusMessage' | 'rawHeaders' | 'httpVersion'>,
  { pseudonym }: ForwardingOptions,
  more: readonly string[] = [],
): string {
  const own = endToEnd(incoming.rawHeaders, ['content-length', 'trailer']);
  const fields = withVia([...own, ...more], incoming, pseudonym);
  // What Node refuses in the head of a final answer.
  const phrase = (incoming.statusMessage ?? '').replace(/[^\t\x20-\x7e\x80-\xff]/g, ' ');
  const lines = [`HTTP/1.1 ${incoming.statusCode} ${phrase}`];
  for (let i = 0; i + 1 < fields.length; i += 2) lines.push(`${fields[i]}: ${fields[i + 1]}`);
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** The head of a request as it came, but without the offer to switch protocols. */
export function headWithoutUpgrade({ method, url, httpVersion, rawHeaders }: IncomingMessage): string {
  const lines = [`${method} ${url} HTTP/${httpVersion}`];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    if (rawHeaders[i]?.toLowerCase() !== 'upgrade') lines.push(`${rawHeaders[i]}: ${rawHeaders[i + 1]}`);
  }
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** Whether a request offers, without content of its own, to switch to one of these protocols. */
export function offersUpgrade(message: IncomingMessage, { upgrades }: ForwardingOptions): boolean {
  return !hasContent(message) && isAbsoluteForm(message) && offered(message, upgrades).length > 0;
}

/** Whether the head of a request says that content follows (RFC 9112 §6). */
export function hasContent({ headers }: IncomingMessage): boolean {
  const { 'transfer-encoding': coding, 'content-length': length = '0' } = headers;
  return coding !== undefined || length !== '0';
}

function offered({ rawHeaders, httpVersion }: IncomingMessage, upgrades: readonly string[]): string[] {
  // RFC 9110 §7.8: only what Connection names counts, and nothing in HTTP/1.0.
  if (httpVersion === '1.0' || !tokensOf(rawHeaders, 'connection').includes('upgrade')) return [];
  const tokens = new Set(tokensOf(rawHeaders, 'upgrade'));
  return [...tokens].flatMap((token) => upgrades.find((each) => each.toLowerCase() === token) ?? []);
}

function fieldsFor(
  message: IncomingMessage,
  { contentLength, transferEncoding }: RequestHead,
  target: Target,
  upgrade: readonly string[],
): string[] {
  const { method = '', rawHeaders, httpVersion } = message;
  const fields = endToEnd(rawHeaders, [
    'host',
    'content-length',
    ...(COUNTS_FORWARDS.has(method) ? ['max-forwards'] : []),
    // An HTTP/1.0 client understands no 100, and has sent its content already.
    ...(httpVersion === '1.0' ? ['expect'] : []),
    ...(transferEncoding === undefined ? ['trailer'] : []),
  ]);
  fields.unshift('Host', formatHttpHost(target));
  if (COUNTS_FORWARDS.has(method)) fields.push(...forwardsLeft(method, rawHeaders));
  // The framing is the message's own, also where Connection names one of its fields.
  if (transferEncoding !== undefined) fields.push('Transfer-Encoding', 'chunked');
  else if (contentLength !== undefined) fields.push('Content-Length', contentLength);
  // RFC 9110 §8.6: who has no content where it may be expected says so; Node would send an empty one in chunks.
  else if (!WITHOUT_CONTENT.has(method)) fields.push('Content-Length', '0');
  if (upgrade.length > 0) return [...fields, 'Connection', 'Upgrade', 'Upgrade', upgrade.join(', ')];
  const wantsTrailers = tokensOf(rawHeaders, 'te').includes('trailers');
  return wantsTrailers
    ? [...fields, 'Connection', 'close, TE', 'TE', 'trailers']
    : [...fields, 'Connection', 'close'];
}

/** The methods that have no content as a rule. */
const WITHOUT_CONTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS', 'TRACE']);

/** The methods that `Max-Forwards` means something to (RFC 9110 §7.6.2). */
const COUNTS_FORWARDS: ReadonlySet<string> = new Set(['TRACE', 'OPTIONS']);

/**
 * `Max-Forwards`, with one less than came; nothing where none came.
 *
 * @throws TunnelError `method_not_allowed` where it ends here: the proxy itself answers neither method
 */
function forwardsLeft(method: string, rawHeaders: readonly string[]): readonly string[] {
  const [value] = tokensOf(rawHeaders, 'max-forwards');
  if (value === undefined) return [];
  if (!/^[0-9]{1,9}$/.test(value)) throw malformed('Max-Forwards is not a number', 'send a number, or none');
  if (Number(value) > 0) return ['Max-Forwards', String(Number(value) - 1)];
  throw new TunnelError('method_not_allowed', {
    detail: `${method} with Max-Forwards: 0 is for this proxy, which has no answer to it`,
    remedy: 'raise Max-Forwards to reach the origin',
  });
}
