import type { Socket } from 'node:net';
import { TunnelError } from '../reasons.js';
import type { StopSignal } from '../stop.js';
import type { Parent } from './parent.js';

/** What every handshake with a parent knows. */
export interface HandshakeOptions {
  readonly parent: Parent;
  /** Deadline of each step, in milliseconds. */
  readonly timeoutMs: number;
  /** Ends the step; the promise then rejects with the signal's reason. */
  readonly signal: StopSignal;
}

/**
 * Waits for a parent in one step of a handshake. Whatever goes wrong (the deadline, the signal, an end of the connection before the step is
 * over) closes the socket; what it listened to is let go in any case.
 *
 * @param begin listens, and returns what stops listening
 * @throws TunnelError `parent_timeout`, `parent_protocol_error`, or what `begin` fails with
 */
export function handshakeStep<T>(
  socket: Socket,
  { parent, timeoutMs, signal }: HandshakeOptions,
  begin: (succeed: (value: T) => void, fail: (error: TunnelError) => void) => () => unknown,
): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      socket.destroy();
      reject(signal.reason);
      return;
    }
    let leave: () => unknown = () => {};
    const finish = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      socket.off('error', onError).off('end', onEnd).off('close', onEnd);
      leave();
    };
    const fail = (error: unknown) => {
      finish();
      socket.destroy();
      reject(error);
    };
    const onAbort = () => fail(signal.reason);
    const onError = (error: NodeJS.ErrnoException) =>
      fail(protocolError(parent, `the connection failed (${error.code ?? error.message})`, error));
    const onEnd = () => fail(protocolError(parent, 'it closed the connection before it answered'));
    const timer = setTimeout(
      () =>
        fail(
          new TunnelError('parent_timeout', {
            detail: `${parent.name} took the connection and did not answer within ${timeoutMs / 1000} s`,
          }),
        ),
      timeoutMs,
    );
    signal.addEventListener('abort', onAbort);
    socket.on('error', onError).on('end', onEnd).on('close', onEnd);
    leave = begin((value) => {
      finish();
      resolve(value);
    }, fail);
  });
}

/** A parent that did not keep to its protocol. */
export function protocolError(parent: Parent, what: string, cause?: unknown): TunnelError {
  return new TunnelError('parent_protocol_error', { detail: `${parent.name}: ${what}`, cause });
}
