import type { Socket } from 'node:net';
import type { TunnelRecord } from '../observe/tunnel-record.js';
import { TunnelError } from '../reasons.js';
import { readLeftover } from '../relay/descriptor.js';
import type { Relay } from '../relay/relay.js';
import { resetNow } from '../relay/reset.js';
import type { StopControl } from '../stop.js';
import type { Target } from '../target.js';
import type { Admit, Reception } from './listener.js';
import { admit, asRefusal, newRecord, type RequestControl, reach, type Stages } from './request.js';
import { accountAtEnd, startRelay } from './tunnel.js';

/** Makes a tunnel to one target of each connection as it is: what comes is for the target, and nothing is said. */
export function portForward(target: Target, stages: Stages, begin: Admit): Reception {
  return {
    receive(client) {
      const control = begin();
      if (control === undefined) resetNow(client);
      else forwardConnection({ client, target }, stages, control);
    },
    // A connection is admitted as soon as it is there.
    makeRoom: () => false,
    close: () => {},
    cut: () => {},
  };
}

/** A connection, and where it leads. */
interface Forwarded {
  /** With an `error` listener. The tunnel owns and closes it from here on. */
  readonly client: Socket;
  readonly target: Target;
}

/** One connection to its accounting. It never throws, whatever becomes of the connection. */
function forwardConnection(forwarded: Forwarded, stages: Stages, control: RequestControl): void {
  const record = newRecord(forwarded.client);
  accountAtEnd(openForward(forwarded, record, stages, control), record, stages, control);
}

const NOTHING = Buffer.alloc(0);

/**
 * The stages up to the relay; what they needed is garbage once the relay has taken over.
 *
 * @returns undefined where there is no tunnel: the client is reset, for an end of file would pass for an answer, and the record
 *   tells why
 */
async function openForward(
  { client, target }: Forwarded,
  record: TunnelRecord,
  stages: Stages,
  control: RequestControl,
): Promise<Relay | undefined> {
  const { stop } = control;
  const letGo = hold(client, stop);
  let upstreamSocket: Socket | undefined;
  try {
    const decision = admit({ target, credentials: undefined, userAgent: undefined }, record, stages);
    const upstream = await reach(target, decision, record, stages, stop);
    upstreamSocket = upstream.socket;
    return startRelay(
      { client, upstream: upstream.socket, early: letGo(), reply: NOTHING },
      record,
      stages,
      control,
    );
  } catch (error) {
    const refusal = asRefusal(error, stages.logger);
    record.refusal = refusal;
    record.timings = refusal.timings;
    stop.abort(refusal);
    resetNow(client);
    upstreamSocket?.destroy();
    return undefined;
  } finally {
    letGo();
  }
}

/** So much is read of a client before there is an upstream, in bytes; the rest waits in the kernel. */
const MAX_HELD_BYTES = 64 * 1024;

/**
 * Holds what a client sends while its upstream is dialled, for a reset is noticed by reading alone, and cancels the dial when one comes. Its
 * end of file is no farewell: nothing has told it that the tunnel is open, and it may have nothing to send. A reset behind more than
 * {@link MAX_HELD_BYTES}, or behind an end of file, is for the relay to notice.
 *
 * @returns lets go of the client, and gives what was held, once. Node then reads on: whoever wants the rest listens at once
 */
function hold(client: Socket, stop: StopControl): () => Buffer {
  const held: Buffer[] = [];
  let bytes = 0;
  const leave = () => stop.abort(new TunnelError('client_gone'));
  const onData = (chunk: Buffer) => {
    held.push(chunk);
    bytes += chunk.length;
    if (bytes >= MAX_HELD_BYTES) client.pause();
  };
  const onEnd = () => {
    // Node takes bytes with a reset behind them for bytes with an end of file behind them.
    const { chunks, error } = readLeftover(client);
    held.push(...chunks);
    if (error !== undefined) leave();
  };
  client.on('close', leave).on('data', onData).on('end', onEnd);
  if (client.destroyed) leave();
  let holding = true;
  return () => {
    if (!holding) return NOTHING;
    holding = false;
    client.off('close', leave).off('data', onData).off('end', onEnd);
    client.resume();
    return Buffer.concat(held);
  };
}
