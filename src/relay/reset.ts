import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { carrierOf } from './descriptor.js';
import { unsentBytes } from './send-queue.js';

/** Closes a socket, or the one below its TLS, with a RST, now: what waits to be sent is dropped. Does nothing to a socket that is closed already. */
export function resetNow(socket: Socket): void {
  if (socket.destroyed) return;
  // While libuv carries out a shutdown it refuses to reset the handle, and the handle would leak.
  if (socket.writableEnded && !socket.writableFinished && socket.writableLength === 0) {
    socket.once('finish', () => resetNow(socket));
    return;
  }
  const carrier = carrierOf(socket);
  // Node resets TCP alone.
  if ('encrypted' in carrier) carrier.destroy();
  else carrier.resetAndDestroy();
}

/**
 * Closes a socket with a RST once everything written to it has left the machine: a RST drops what the kernel still has to
 * send. The wait has no deadline of its own; {@link resetNow} ends it.
 *
 * @param progressed called whenever the peer has taken more bytes
 */
export function resetAfterDelivery(socket: Socket, progressed: () => void): void {
  if (socket.destroyed) return;
  const flushed = () => {
    progressed();
    void resetWhenSent(socket, progressed);
  };
  // An empty write calls back when all before it have been handed to the kernel.
  if (!socket.writableEnded) socket.write('', flushed);
  else if (socket.writableFinished) flushed();
  else socket.once('finish', flushed);
}

const MAX_DELAY_MS = 500;

async function resetWhenSent(socket: Socket, progressed: () => void): Promise<void> {
  let before = Number.POSITIVE_INFINITY;
  let absences = 0;
  for (let delayMs = 2; !socket.destroyed; delayMs = Math.min(delayMs * 2, MAX_DELAY_MS)) {
    const unsent = await unsentBytes(socket);
    // A table that changes while it is read may leave out a line, but hardly twice.
    if (unsent === undefined) absences += 1;
    if (unsent === 0 || absences === 2) break;
    if (unsent !== undefined && unsent < before) progressed();
    before = unsent ?? before;
    await sleep(delayMs);
  }
  resetNow(socket);
}
