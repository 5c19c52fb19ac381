import type { Socket } from 'node:net';
import type { TunnelRecord } from '../observe/tunnel-record.js';
import type { Relay } from '../relay/relay.js';
import { resetNow } from '../relay/reset.js';
import type { Target } from '../target.js';
import { holdClient } from './hold.js';
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
  // Nothing tells it that the tunnel is open, and it may have nothing to send: its end of file is no farewell.
  const letGo = holdClient(client, { early: NOTHING, finMeansGone: 'never' }, stop);
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
