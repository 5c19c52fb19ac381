import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { SocksClient } from 'socks';
import { TunnelError } from '../reasons.js';
import { type HandshakeOptions, handshakeStep, protocolError } from './handshake-step.js';
import type { Parent } from './parent.js';

/**
 * Asks a parent for a connection with SOCKS 4, 4a or 5, on a connection to it.
 *
 * The client library gets a stream of its own in place of the socket: it would resume the socket once it is done, and bytes of the target
 * that came with the answer, or an end of file behind them, would be lost before anybody listens.
 *
 * @param destination an address, or a name that the parent resolves
 * @returns with the socket paused, and nothing of ours on it
 * @throws TunnelError, with the socket closed: `parent_refused`, `parent_credentials_rejected` and those of {@link handshakeStep}
 */
export async function askSocks(
  socket: Socket,
  destination: { readonly host: string; readonly port: number },
  options: HandshakeOptions,
): Promise<void> {
  const { parent, timeoutMs } = options;
  const line = new Duplex({ read() {}, write: (chunk, _encoding, done) => void socket.write(chunk, done) });
  line.on('error', () => {});
  const early: Buffer[] = [];
  const asking = SocksClient.createConnection({
    command: 'connect',
    destination,
    existing_socket: line,
    // The deadline is ours, and comes first.
    timeout: timeoutMs + 1000,
    proxy: {
      host: parent.host.host,
      port: parent.port,
      type: parent.scheme.startsWith('socks4') ? 4 : 5,
      ...(parent.credentials === undefined
        ? {}
        : { userId: parent.credentials.user, password: parent.credentials.password }),
    },
  });
  // Where the step does not even begin, nobody else waits for it.
  asking.catch(() => {});
  await handshakeStep<void>(socket, options, (succeed, fail) => {
    const onData = (chunk: Buffer) => line.push(chunk);
    socket.on('data', onData);
    asking.then(
      ({ remoteHost }) => {
        socket.off('data', onData).pause();
        // It took an answer of no known form for a good one.
        if (parent.scheme.startsWith('socks5') && remoteHost === undefined)
          return fail(protocolError(parent, 'it answered with an address of an unknown type'));
        line.on('data', (chunk: Buffer) => early.push(chunk));
        succeed();
      },
      (error: unknown) => fail(failure(parent, error)),
    );
    return () => socket.off('data', onData);
  }).catch((error: unknown) => {
    line.destroy();
    throw error;
  });
  // By then the library has handed out what came behind the answer.
  await new Promise((resolve) => setImmediate(resolve));
  line.destroy();
  if (early.length > 0) socket.unshift(Buffer.concat(early));
}

/** What the library's words mean. Its error holds our credentials, and is not kept. */
function failure(parent: Parent, error: unknown): TunnelError {
  const words = error instanceof Error ? error.message : '';
  if (/authentication failed|no accepted authentication/i.test(words))
    return new TunnelError('parent_credentials_rejected', { detail: `${parent.name}: ${words}` });
  // A code without a name is none of SOCKS.
  if (words.includes('undefined')) return protocolError(parent, 'what it answered is not SOCKS');
  if (words.includes('rejected connection'))
    return new TunnelError('parent_refused', { detail: `${parent.name}: ${words}` });
  return protocolError(parent, words);
}
