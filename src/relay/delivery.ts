import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { StopSignal } from '../stop.js';
import type { Answer } from './exchange.js';
import { resetAfterDelivery, resetNow } from './reset.js';
import { trailersOf } from './trailers.js';

/** How an exchange of which the client has seen the head ended. */
export const EXCHANGE_CAUSES = [
  'complete',
  'client_gone',
  'client_timeout',
  'http_response_incomplete',
  'http_response_timeout',
  'aborted',
] as const;

/** A member of {@link EXCHANGE_CAUSES}. */
export type ExchangeCause = (typeof EXCHANGE_CAUSES)[number];

/** An answer on its way to the client. */
export interface Delivery {
  readonly answer: Extract<Answer, { kind: 'response' }>;
  /** Its head has been written, and it is on a socket. */
  readonly response: ServerResponse;
  readonly client: Socket;
  readonly upstream: Socket;
  /** The request, of which not all may have come yet. */
  readonly message: IncomingMessage;
  /** Silence of the upstream, or of a client that does not read, in milliseconds; 0: for ever. */
  readonly idleTimeoutMs: number;
}

/**
 * Delivers the content and the trailers of an answer, with backpressure. Closes the connection to the upstream. An answer that stays
 * incomplete resets the client's connection, after what there was of it: it must not look complete.
 *
 * @param signal cuts it short: cause `aborted`
 * @returns how it ended: all of the answer has left the process, or the client's connection is closed; it never rejects
 */
export function deliver(delivery: Delivery, signal: StopSignal): Promise<ExchangeCause> {
  const { answer, response, client, upstream, message, idleTimeoutMs } = delivery;
  const { incoming } = answer;
  return new Promise((resolve) => {
    let over = false;
    const end = (cause: ExchangeCause) => {
      if (over) return;
      over = true;
      signal.removeEventListener('abort', onAbort);
      client.off('end', onClientEnd).off('drain', onDrain).setTimeout(0);
      incoming.unpipe(response);
      upstream.destroy();
      // What is left of the request has nobody to go to.
      message.removeAllListeners('data');
      message.resume();
      if (cause === 'complete') resolve(cause);
      else cut(client, cause, idleTimeoutMs, signal, () => resolve(cause));
    };
    const onAbort = () => end('aborted');
    // Node would end its half, too, and an answer without a length would look complete.
    const onClientEnd = () => end('client_gone');
    // Node says so itself, unless another request behind this one has taken its parser away.
    const onDrain = () => void response.emit('drain');
    const silent = () => end(client.writableLength > 0 ? 'client_timeout' : 'http_response_timeout');
    signal.addEventListener('abort', onAbort);
    client.prependListener('end', onClientEnd).on('drain', onDrain).setTimeout(idleTimeoutMs);
    upstream.once('timeout', silent);
    // Node closes a silent connection that nobody listens for.
    response.once('timeout', silent);
    response.once('finish', () => end('complete'));
    response.once('close', () => end('client_gone'));
    response.on('error', () => end('client_gone'));
    incoming.on('error', () => end('http_response_incomplete'));
    incoming.once('close', () => {
      if (!incoming.complete) end('http_response_incomplete');
    });
    incoming.once('end', () => {
      if (!incoming.complete || answer.wasCut()) {
        end('http_response_incomplete');
        return;
      }
      const trailers = trailersOf(incoming);
      if (trailers.length > 0 && response.chunkedEncoding) response.addTrailers(trailers);
      response.end();
    });
    incoming.pipe(response, { end: false });
    if (client.destroyed) end('client_gone');
    else if (signal.aborted) onAbort();
  });
}

/** Resets a connection in the middle of an answer. A client that takes no byte more is not waited for beyond the idle timeout. */
function cut(
  client: Socket,
  cause: ExchangeCause,
  idleTimeoutMs: number,
  signal: StopSignal,
  closed: () => void,
): void {
  const now = () => resetNow(client);
  const timer = idleTimeoutMs > 0 ? setTimeout(now, idleTimeoutMs) : undefined;
  const done = () => {
    clearTimeout(timer);
    signal.removeEventListener('abort', now);
    closed();
  };
  if (client.closed) {
    done();
    return;
  }
  client.once('close', done);
  if (cause.startsWith('http_')) {
    signal.addEventListener('abort', now);
    resetAfterDelivery(client, () => timer?.refresh());
  } else now();
}
