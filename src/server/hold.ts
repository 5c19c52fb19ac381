import type { Socket } from 'node:net';
import { TunnelError } from '../reasons.js';
import { readLeftover } from '../relay/descriptor.js';
import type { StopControl } from '../stop.js';

/** How a client is held. */
export interface HoldOptions {
  /** What came behind the head of its request already. */
  readonly early: Buffer;
  /**
   * When an end of file says that the client has left: behind bytes for the tunnel it may be a half-close, and the tunnel still be
   * wanted.
   */
  readonly finMeansGone: 'always' | 'before-bytes' | 'never';
}

/** So much is read of a client before there is a tunnel, in bytes; the rest waits in the kernel. */
const MAX_HELD_BYTES = 64 * 1024;

/**
 * Holds what a client sends until there is a tunnel for it, for that it has left is noticed by reading alone: aborts `stop` with
 * `client_gone` then. A reset behind more than {@link MAX_HELD_BYTES}, or behind an end of file, is for the relay to notice.
 *
 * @returns lets go of the client, and gives what came for the tunnel, once; nothing when called again. Node then reads on: whoever wants
 *   the rest listens at once
 */
export function holdClient(
  client: Socket,
  { early, finMeansGone }: HoldOptions,
  stop: StopControl,
): () => Buffer {
  let held = early;
  const leave = () => stop.abort(new TunnelError('client_gone'));
  const onData = (chunk: Buffer) => {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    if (held.length >= MAX_HELD_BYTES) client.pause();
  };
  const onEnd = () => {
    // Node takes bytes with a reset behind them for bytes with an end of file behind them.
    const { chunks, error } = readLeftover(client);
    for (const chunk of chunks) onData(chunk);
    const isFarewell = finMeansGone === 'always' || (finMeansGone === 'before-bytes' && held.length === 0);
    if (error !== undefined || isFarewell) leave();
  };
  client.on('close', leave).on('data', onData).on('end', onEnd);
  if (client.destroyed) leave();
  let isHeld = true;
  return () => {
    if (!isHeld) return NOTHING;
    isHeld = false;
    client.off('close', leave).off('data', onData).off('end', onEnd);
    client.resume();
    return held;
  };
}

const NOTHING = Buffer.alloc(0);
