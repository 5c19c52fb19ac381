import type { Socket } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import { TunnelError } from '../reasons.js';
import { type HandshakeOptions, handshakeStep } from './handshake-step.js';

/**
 * TLS to a parent, on a connection to it. The authorities are Node's own and those of `NODE_EXTRA_CA_CERTS`.
 *
 * @returns half-open capable, with an `error` listener; closing it closes the connection below
 * @throws TunnelError `parent_protocol_error` where the certificate is not trusted or TLS fails, and those of {@link handshakeStep}; the
 *   socket is closed
 */
export async function secure(socket: Socket, options: HandshakeOptions): Promise<TLSSocket> {
  const { name, host } = options.parent;
  const secured = connect({
    socket,
    ALPNProtocols: ['http/1.1'],
    // A name is sent along and checked; an address is checked alone (RFC 6066 §3).
    ...(host.family === 0 ? { servername: host.host } : { host: host.host }),
  });
  secured.on('error', ignore);
  try {
    await handshakeStep<void>(secured, options, (succeed) => {
      secured.once('secureConnect', succeed);
      return () => secured.off('secureConnect', succeed);
    });
  } catch (error) {
    // Node sets it to the verification's code.
    const why: unknown = secured.authorizationError;
    if (!why || !(error instanceof TunnelError) || error.reason !== 'parent_protocol_error') throw error;
    throw new TunnelError('parent_protocol_error', {
      detail: `${name}: its certificate is not trusted (${String(why)})`,
      remedy: 'name the file of its authority in NODE_EXTRA_CA_CERTS, and the parent as its certificate does',
      cause: error,
    });
  }
  return secured;
}

function ignore(): void {}
