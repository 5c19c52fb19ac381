import type { Socket } from 'node:net';
import { formatAuthority, type Target } from '../target.js';
import { type HandshakeOptions, handshakeStep, protocolError } from './handshake-step.js';
import { authorizationOf, parentRefusal } from './parent.js';

/** The largest head of an answer, in bytes. */
const MAX_HEAD_BYTES = 16 * 1024;

/** The beginning of every head that is read here. */
const BEGINNING = 'HTTP/1.';

/** What goes along with the request. */
export interface ConnectOptions extends HandshakeOptions {
  /** The entries of `Via`, ours included; none: no such field. */
  readonly via: readonly string[];
}

/**
 * Asks a parent for a tunnel with CONNECT, on a connection to it. Any 2xx opens it, whatever its header says (RFC 9110 §9.3.6), a 1xx
 * is passed over, and what stands behind the head is put back into the socket: it is the target's.
 *
 * Node's own client would take a 1xx for the answer, and refuse a 2xx with both Content-Length and Transfer-Encoding.
 *
 * @returns with the socket paused, and nothing of ours on it
 * @throws TunnelError, with the socket closed: `parent_refused`, `parent_credentials_rejected`, `proxy_loop_detected`, and those of
 *   {@link handshakeStep}
 */
export async function askConnect(socket: Socket, target: Target, options: ConnectOptions): Promise<void> {
  const { parent } = options;
  const authority = formatAuthority(target.host, target.port);
  const authorization = authorizationOf(parent);
  const request = [
    `CONNECT ${authority} HTTP/1.1`,
    `Host: ${authority}`,
    ...(authorization === undefined ? [] : [`Proxy-Authorization: ${authorization}`]),
    ...(options.via.length === 0 ? [] : [`Via: ${options.via.join(', ')}`]),
  ];
  await handshakeStep<void>(socket, options, (succeed, fail) => {
    let bytes: Buffer = Buffer.alloc(0);
    const onData = (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      for (;;) {
        const answer = readAnswer(bytes);
        if (answer === undefined) return;
        if ('problem' in answer) return fail(protocolError(parent, answer.problem));
        const { status, phrase, proxyStatus, rest } = answer;
        if (status >= 200 && status <= 299) {
          socket.off('data', onData).pause();
          if (rest.length > 0) socket.unshift(rest);
          return succeed();
        }
        if (status === 101) return fail(protocolError(parent, 'it answered CONNECT with 101'));
        if (status >= 200) return fail(parentRefusal(parent.name, status, phrase, proxyStatus));
        bytes = rest;
      }
    };
    socket.on('data', onData);
    socket.write(`${request.join('\r\n')}\r\n\r\n`, 'latin1');
    return () => socket.off('data', onData);
  });
}

/** The head of an answer. */
interface Answer {
  readonly status: number;
  readonly phrase: string;
  /** The value of `Proxy-Status`; empty where there is none. */
  readonly proxyStatus: string;
  /** What stands behind it. */
  readonly rest: Buffer;
}

/** @returns undefined where the head is not complete, a problem where it never will be */
function readAnswer(bytes: Buffer): Answer | { readonly problem: string } | undefined {
  const text = bytes.toString('latin1', 0, MAX_HEAD_BYTES);
  if (!text.startsWith(BEGINNING.slice(0, text.length))) return { problem: 'what it answered is not HTTP/1' };
  // A line may end without CR (RFC 9112 §2.2).
  const end = /\n\r?\n/.exec(text);
  if (end === null)
    return bytes.length < MAX_HEAD_BYTES ? undefined : { problem: 'its answer has no end within 16 KiB' };
  const [line = ''] = text.split(/\r?\n/, 1);
  const [, status, phrase = ''] = /^HTTP\/1\.[0-9] ([1-9][0-9]{2})(?: (.*))?$/.exec(line) ?? [];
  if (status === undefined) return { problem: 'what it answered is not HTTP/1' };
  const [, proxyStatus = ''] = /^proxy-status:(.*)$/im.exec(text.slice(0, end.index)) ?? [];
  return {
    status: Number(status),
    phrase,
    proxyStatus,
    rest: bytes.subarray(end.index + end[0].length),
  };
}
