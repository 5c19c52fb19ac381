import { readSync } from 'node:fs';
import { Socket } from 'node:net';

/**
 * The file descriptor of a TCP connection: `_handle.fd`, which Node does not document and has had since version 8.
 *
 * @returns undefined where there is none, or none that carries the peer's bytes as they are: closed sockets, TLS,
 *   platforms without descriptors
 */
export function descriptorOf(socket: Socket): number | undefined {
  if ('encrypted' in socket) return undefined;
  const handle: unknown = Reflect.get(socket, '_handle');
  const descriptor: unknown =
    typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : undefined;
  return typeof descriptor === 'number' && descriptor >= 0 ? descriptor : undefined;
}

/** The TCP connection that carries a socket's bytes: below TLS `_parent`, which Node does not document; otherwise the socket itself. */
export function carrierOf(socket: Socket): Socket {
  if (!('encrypted' in socket)) return socket;
  const below: unknown = Reflect.get(socket, '_parent');
  return below instanceof Socket ? below : socket;
}

/** What was left in the kernel of a connection that Node has stopped reading. */
export interface Leftover {
  readonly chunks: readonly Buffer[];
  /** How the connection failed behind them; undefined: it did not, as far as anybody can tell. */
  readonly error?: NodeJS.ErrnoException;
}

/** Used within one call only; nearly every tunnel ends with nothing left over, and an allocation for that would be a waste. */
const SCRATCH = Buffer.allocUnsafeSlow(64 * 1024);
/** The kernel's receive buffer is far smaller; this ends the reading of a peer that sends as fast as it is read. */
const MAX_CHUNKS = 1024;

/**
 * Reads what the kernel still has of a connection, and how it ended. Node tells neither in two cases: libuv reports an end
 * of file where bytes and the reset behind them arrive together (before https://github.com/libuv/libuv/pull/4997), and a
 * write that fails closes the socket with all that was not read yet. Only for sockets that Node will not read any more. Of TLS it
 * tells how the connection below ended; what is left there nobody can decrypt any more.
 */
export function readLeftover(socket: Socket): Leftover {
  const carrier = carrierOf(socket);
  const descriptor = descriptorOf(carrier);
  const chunks: Buffer[] = [];
  if (descriptor === undefined) return { chunks };
  try {
    for (let reads = 0; reads < MAX_CHUNKS; reads += 1) {
      const bytes = readSync(descriptor, SCRATCH);
      if (bytes === 0) break;
      if (carrier === socket) chunks.push(Buffer.from(SCRATCH.subarray(0, bytes)));
    }
  } catch (error) {
    const failure = error as NodeJS.ErrnoException; // What node:fs throws for descriptors and buffers that are as they should be.
    if (failure.code !== 'EAGAIN') return { chunks, error: failure };
  }
  return { chunks };
}
