import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { TunnelError } from '../reasons.js';
import type { StopSignal } from '../stop.js';
import { readLeftover } from './descriptor.js';
import { trailersOf } from './trailers.js';

/** A request and where it goes. */
export interface Asking {
  /** Whose content and trailers are sent, with backpressure. */
  readonly message: IncomingMessage;
  readonly hasContent: boolean;
  /** Connected, with an `error` listener; {@link ask} closes it where it throws, `deliver` at its end. */
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
  | {
      readonly kind: 'response';
      readonly incoming: IncomingMessage;
      /** Whether the connection broke before all of the answer was there, also where Node takes that for its end. */
      readonly wasCut: () => boolean;
    }
  | { readonly kind: 'switched'; readonly incoming: IncomingMessage; readonly early: Buffer };

/** The largest head of an answer, in bytes: cookies may be many. */
const MAX_ANSWER_HEAD_BYTES = 64 * 1024;

/**
 * Sends a request over a connection and waits for the head of its answer. The content goes on being sent while the answer is
 * delivered, unless the answer says that it is not wanted.
 *
 * @param signal ends it; the promise then rejects with the signal's reason
 * @throws TunnelError `connection_terminated`, `http_protocol_error` or `http_response_timeout`
 */
export function ask(asking: Asking, signal: StopSignal): Promise<Answer> {
  const { message, upstream, method, path } = asking;
  // Node writes a head that it flushes early in UTF-8, but what was read as Latin-1 must be written as such.
  upstream.setNoDelay(true).setDefaultEncoding('latin1');
  return new Promise((resolve, reject) => {
    let answer: IncomingMessage | undefined;
    let wasCut = false;
    let stopSending = () => {};
    // Node takes a reset for an end of file where bytes arrive with it, and content without a length would look complete.
    const onEnd = () => {
      if (answer?.complete !== true && readLeftover(upstream).error !== undefined) wasCut = true;
    };
    upstream.once('end', onEnd);
    const request = httpRequest({
      createConnection: () => upstream,
      method,
      path,
      headers: [...asking.fields],
      maxHeaderSize: MAX_ANSWER_HEAD_BYTES,
    });
    // Node would drop what is beyond 2000, and say nothing.
    request.maxHeadersCount = 0;
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
    request.on('error', (error) => {
      // To destroy a request would throw away what has been read of its answer. Node closes the connection by itself.
      if (answer === undefined) fail(failureOf(error));
      else if (!answer.complete) wasCut = true;
    });
    request.on('information', asking.onInterim);
    request.once('response', (incoming) => {
      const problem = problemOf(incoming);
      if (problem !== undefined) {
        fail(notHttp(problem));
        return;
      }
      answer = incoming;
      // RFC 9112 §9.5: what it does not want it will not read, and to go on might lose the answer to a reset.
      if ((incoming.statusCode ?? 0) >= 300 && !message.complete) stopSending();
      settle(() => resolve({ kind: 'response', incoming, wasCut: () => wasCut }));
    });
    request.once('upgrade', (incoming, _socket, early) =>
      settle(() => {
        upstream.off('end', onEnd).setTimeout(0);
        resolve({ kind: 'switched', incoming, early });
      }),
    );
    signal.addEventListener('abort', onAbort);
    upstream.setTimeout(asking.idleTimeoutMs);
    upstream.on('timeout', onTimeout);
    // A handshake with a parent leaves it paused, and Node's client would not read it then.
    upstream.resume();
    if (signal.aborted) onAbort();
    else if (asking.hasContent) stopSending = sendContent(message, request, upstream);
    else request.end();
  });
}

/** @returns sends no more, and drops what is still to come */
function sendContent(message: IncomingMessage, request: ClientRequest, upstream: Socket): () => void {
  // Its error comes while the connection is still open.
  const written = (error?: Error | null) => {
    if (error) hearLastWords(upstream);
  };
  const onData = (chunk: Buffer) => {
    if (request.destroyed) return;
    if (!request.write(chunk, written)) message.pause();
  };
  const onDrain = () => void message.resume();
  const onEnd = () => {
    if (request.destroyed) return;
    const trailers = trailersOf(message);
    if (trailers.length > 0) request.addTrailers(trailers);
    request.end();
  };
  request.flushHeaders();
  request.on('drain', onDrain);
  message.on('data', onData).once('end', onEnd);
  return () => {
    request.off('drain', onDrain);
    message.off('data', onData).off('end', onEnd).resume();
  };
}

/**
 * An origin that has read enough answers, and closes: the reset makes the next write fail, upon which Node closes the connection with
 * the answer unread.
 */
function hearLastWords(upstream: Socket): void {
  for (let chunk: unknown = upstream.read(); chunk instanceof Buffer; chunk = upstream.read())
    upstream.emit('data', chunk);
  for (const chunk of readLeftover(upstream).chunks) upstream.emit('data', chunk);
}

/** What is wrong with the head of an answer that Node's parser let through; undefined: nothing. */
function problemOf({ httpVersion, statusCode, headers }: IncomingMessage): string | undefined {
  if (statusCode === 101) return 'switched protocols, and did not say to which';
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return `speaks HTTP/${httpVersion}`;
  const coding = headers['transfer-encoding'];
  // What else a coding does would be lost where the answer is framed anew.
  if (coding !== undefined && coding.trim().toLowerCase() !== 'chunked')
    return `used the transfer coding ${coding}, which it was not asked for`;
  return undefined;
}

function notHttp(what: string, cause?: Error): TunnelError {
  return new TunnelError('http_protocol_error', {
    detail: `the destination ${what}`,
    ...(cause === undefined ? {} : { cause }),
  });
}

function failureOf(error: NodeJS.ErrnoException): TunnelError {
  if ((error.code ?? '').startsWith('HPE_')) {
    const words = error.message.replace(/^Parse Error:? ?/, '');
    return notHttp(`answered what does not parse: ${words}`, error);
  }
  return new TunnelError('connection_terminated', {
    detail: 'the destination closed the connection before it answered',
    cause: error,
  });
}
