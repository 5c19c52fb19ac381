import type { Socket } from 'node:net';
import type { TunnelError } from '../reasons.js';

/** The name spliceway goes by in `Proxy-Status` (RFC 9209 §2). */
export const PROXY_NAME = 'spliceway';

/** The header that carries a tunnel's id, as the log does: stunnel logs the headers of a 2xx too. */
export const TUNNEL_ID_HEADER = 'Spliceway-Tunnel-Id';

/** Says that the tunnel is open (RFC 9110 §9.3.6: no content, no framing fields). The relay sends it, in one write. */
export function establishedReply(tunnelId: string): Buffer {
  return Buffer.from(
    `HTTP/1.1 200 Connection established\r\n${TUNNEL_ID_HEADER}: ${tunnelId}\r\n\r\n`,
    'latin1',
  );
}

/**
 * Says why there is no tunnel, where the engineer looks: stunnel logs the status line and the headers, curl the body. Then closes lingeringly:
 * what the client still sends is read and dropped until it closes or the deadline comes, since closing with bytes unread
 * would reset the connection and take the reply with it (RFC 9112 §9.6).
 *
 * @param lingerMs deadline of the lingering close, in milliseconds
 */
export function replyRefused(
  client: Socket,
  error: TunnelError,
  options: {
    readonly tunnelId: string;
    readonly lingerMs: number;
    /** The method of the request: the answer to HEAD has no content (RFC 9110 §9.3.2). */
    readonly method?: string | undefined;
  },
): void {
  if (client.destroyed) return;
  const body = `${error.reason}: ${error.message}\n${error.remedy}\n`;
  const head = [
    `HTTP/1.1 ${error.status} ${error.reason}: ${error.message}; ${error.remedy}`,
    `Proxy-Status: ${PROXY_NAME}; error=${error.reason}; details=${sfString(error.message)}`,
    ...(error.status === 407 ? ['Proxy-Authenticate: Basic realm="spliceway", charset="UTF-8"'] : []),
    ...(error.status === 405 ? ['Allow: CONNECT'] : []),
    ...(error.retryAfterSeconds === undefined ? [] : [`Retry-After: ${error.retryAfterSeconds}`]),
    `${TUNNEL_ID_HEADER}: ${options.tunnelId}`,
    'Connection: close',
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
  ];
  client.end(`${head.join('\r\n')}\r\n\r\n${options.method === 'HEAD' ? '' : body}`);
  closeLingering(client, options.lingerMs);
}

/**
 * Reads and drops what the client still sends until it closes or the deadline comes, in milliseconds.
 */
export function closeLingering(client: Socket, lingerMs: number): void {
  const timer = setTimeout(() => client.destroy(), lingerMs);
  client.once('close', () => clearTimeout(timer));
  client.removeAllListeners('data');
  client.on('data', () => {});
  client.resume();
}

/** A structured-field string (RFC 8941 §3.3.3). */
function sfString(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`;
}
