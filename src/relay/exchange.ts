import { request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { TunnelError } from '../reasons.js';
import type { StopSignal } from '../stop.js';
import { readLeftover } from './descriptor.js';
import { resetAfterDelivery, resetNow } from './reset.js';

/** A request and where it goes. */
export interface Asking {
  /** Whose content and trailers are sent, with backpressure. */
  readonly message: IncomingMessage;
  readonly hasContent: boolean;
  /** Connected, with an `error` listener; {@link ask} closes it where it throws, {@link deliver} at its end. */
  readonly upstream: Socket;
  readonly method: string;
  /** The request target as it is written. */
  readonly path: string;
  /** Names and values in turn, framing included. */
  readonly fields: readonly string[];
  /** Silence of the upstream, in milliseconds; 0: for ever. */
  readonly idleTimeoutMs: number;
  /** An interim answer (RFC 9110 §15.2), but for 101. */
  readonly onInterim: (interim: Interim) => void;
}

/** A 1xx answer. */
export type Interim = Pick<IncomingMessage, 'statusCode' | 'statusMessage' | 'rawHeaders' | 'httpVersion'>;

/** The head of an answer, behind which is either content or another protocol. */
export type Answer =
  | { readonly kind: 'response'; readonly incoming: IncomingMessage; readonly wasReset: () => boolean }
  | { readonly kind: 'switched'; readonly incoming: IncomingMessage; readonly early: Buffer };

/** How an exchange of which the client has seen the head ended. */
export const EXCHANGE_CAUSES = [
  'complete',
  'client_gone',
  'http_response_incomplete',
  'http_response_timeout',
  'aborted',
] as const;

/** A member of {@link EXCHANGE_CAUSES}. */
export type ExchangeCause = (typeof EXCHANGE_CAUSES)[number];

/** The largest head of an answer, in bytes: cookies may be many. */
const MAX_ANSWER_HEAD_BYTES = 64 * 1024;

/**
 * Sends a request over a connection and waits for the head of its answer. The content goes on being sent while the answer is
 * delivered.
 *
 * @param signal ends it; the promise then rejects with the signal's reason
 * @throws TunnelError `connection_terminated`, `http_protocol_error` or `http_response_timeout`
 */
export function ask(asking: Asking, signal: StopSignal): Promise<Answer> {
  const { message, upstream, method, path } = asking;
  return new Promise((resolve, reject) => {
    let reset = false;
    // Node takes a reset for an end of file where bytes arrive with it, and a body without a length would look complete.
    const onEnd = () => {
      reset = readLeftover(upstream).error !== undefined;
    };
    upstream.once('end', onEnd);
    const request = httpRequest({
      createConnection: () => upstream,
      method,
      path,
      headers: [...asking.fields],
      maxHeaderSize: MAX_ANSWER_HEAD_BYTES,
    });
    const settle = (act: () => void) => {
      signal.removeEventListener('abort', onAbort);
      upstream.off('timeout', onTimeout);
      act();
    };
    const fail = (error: unknown) =>
      settle(() => {
        reject(error);
        request.destroy();
        upstream.destroy();
      });
    const onAbort = () => fail(signal.reason);
    const onTimeout = () => fail(new TunnelError('http_response_timeout'));
    // Also after the answer has begun, when it tells nothing that the answer does not.
    request.on('error', (error) => fail(failureOf(error)));
    request.on('information', asking.onInterim);
    request.once('response', (incoming) =>
      settle(() => resolve({ kind: 'response', incoming, wasReset: () => reset })),
    );
    request.once('upgrade', (incoming, _socket, early) =>
      settle(() => {
        upstream.off('end', onEnd).setTimeout(0);
        resolve({ kind: 'switched', incoming, early });
      }),
    );
    signal.addEventListener('abort', onAbort);
    upstream.setTimeout(asking.idleTimeoutMs);
    upstream.on('timeout', onTimeout);
    if (signal.aborted) onAbort();
    else if (asking.hasContent) sendContent(message, request);
    else request.end();
  });
}

/** An answer on its way to the client. */
export interface Delivery {
  readonly answer: Extract<Answer, { kind: 'response' }>;
  /** Its head has been written, and it is on a socket. */
  readonly response: ServerResponse;
  readonly client: Socket;
  readonly upstream: Socket;
  readonly message: IncomingMessage;
}

/**
 * Delivers the content and the trailers of an answer, with backpressure. Closes the connection to the upstream. An answer that stays
 * incomplete resets the client's connection, after what there was of it: it must not look complete.
 *
 * @param signal cuts it short: cause `aborted`
 * @returns how it ended; it never rejects
 */
export function deliver(
  { answer, response, client, upstream, message }: Delivery,
  signal: StopSignal,
): Promise<ExchangeCause> {
  const { incoming } = answer;
  return new Promise((resolve) => {
    let over = false;
    const end = (cause: ExchangeCause) => {
      if (over) return;
      over = true;
      signal.removeEventListener('abort', onAbort);
      incoming.unpipe(response);
      upstream.destroy();
      // What is left of the request has nobody to go to.
      message.unpipe();
      message.resume();
      if (cause === 'aborted') resetNow(client);
      else if (cause !== 'complete') resetAfterDelivery(client, () => {});
      resolve(cause);
    };
    const onAbort = () => end('aborted');
    signal.addEventListener('abort', onAbort);
    upstream.once('timeout', () => end('http_response_timeout'));
    response.once('finish', () => end('complete'));
    response.once('close', () => end('client_gone'));
    response.on('error', () => end('client_gone'));
    incoming.on('error', () => end('http_response_incomplete'));
    incoming.once('close', () => {
      if (!incoming.complete) end('http_response_incomplete');
    });
    incoming.once('end', () => {
      if (!incoming.complete || answer.wasReset()) {
        end('http_response_incomplete');
        return;
      }
      const trailers = pairsOf(incoming.rawTrailers);
      if (trailers.length > 0 && response.chunkedEncoding) response.addTrailers(trailers);
      response.end();
    });
    incoming.pipe(response, { end: false });
    if (signal.aborted) onAbort();
  });
}

function sendContent(message: IncomingMessage, request: ReturnType<typeof httpRequest>): void {
  request.flushHeaders();
  message.pipe(request, { end: false });
  message.once('end', () => {
    if (request.destroyed) return;
    const trailers = pairsOf(message.rawTrailers);
    if (trailers.length > 0) request.addTrailers(trailers);
    request.end();
  });
}

function failureOf(error: NodeJS.ErrnoException): TunnelError {
  const code = error.code ?? '';
  if (code.startsWith('HPE_')) {
    const words = error.message.replace(/^Parse Error:? ?/, '');
    return new TunnelError('http_protocol_error', {
      detail: `what the destination answered does not parse: ${words}`,
      cause: error,
    });
  }
  return new TunnelError('connection_terminated', {
    detail: 'the destination closed the connection before it answered',
    cause: error,
  });
}

/** Names with their values, as Node wants trailers; those that frame or route a message are no trailers (RFC 9110 §6.5.1). */
function pairsOf(raw: readonly string[]): [string, string][] {
  const pairs: [string, string][] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? '';
    if (!/^(?:proxy-.*|connection|transfer-encoding|content-length|host|te|trailer)$/i.test(name))
      pairs.push([name, raw[i + 1] ?? '']);
  }
  return pairs;
}
