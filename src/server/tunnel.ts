import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { readConnect } from '../handshake/connect.js';
import { establishedReply, replyRefused } from '../handshake/reply.js';
import { refuseLoop } from '../handshake/via.js';
import type { TunnelRecord } from '../observe/tunnel-record.js';
import type { Relay, RelayTunnel } from '../relay/relay.js';
import { holdClient } from './hold.js';
import { account, admit, asRefusal, newRecord, type RequestControl, reach, type Stages } from './request.js';

/** A CONNECT request as Node's parser hands it over. */
export interface ConnectEvent {
  readonly message: IncomingMessage;
  /** With an `error` listener. The tunnel owns and closes it from here on. */
  readonly client: Socket;
  /** What came behind the head already. */
  readonly early: Buffer;
}

/** One request from its head to its accounting: the six stages, in order. It never throws, whatever becomes of the request. */
export function serveTunnel(event: ConnectEvent, stages: Stages, control: RequestControl): void {
  const record = newRecord(event.client);
  const opening = openTunnel(event, record, stages, control).catch((error: unknown) => {
    record.refusal ??= asRefusal(error, stages.logger);
    event.client.destroy();
    return undefined;
  });
  accountAtEnd(opening, record, stages, control);
}

/** A function of its own, and no async one: while a tunnel is idle, for hours, it must not keep what all the stages needed. */
export function accountAtEnd(
  opening: Promise<Relay | undefined>,
  record: TunnelRecord,
  stages: Stages,
  control: RequestControl,
): void {
  void opening.then((relay) => {
    if (relay === undefined) account(record, stages, control);
    else
      void relay.end.then(({ cause }) => {
        if (record.relayed !== undefined) record.relayed.ended = { atMs: performance.now(), cause };
        account(record, stages, control);
      });
  });
}

/**
 * The stages up to the relay. Whatever they needed (request, sockets, buffers) is garbage once the relay has taken over: an idle
 * tunnel keeps its record, and what its engine keeps.
 *
 * @returns undefined where the request was refused, which the record tells
 */
async function openTunnel(
  { message, client, early }: ConnectEvent,
  record: TunnelRecord,
  stages: Stages,
  control: RequestControl,
): Promise<Relay | undefined> {
  const { tunnelId } = record;
  const { stop } = control;
  const letGo = holdClient(client, { early, finMeansGone: 'before-bytes' }, stop);
  let upstreamSocket: Socket | undefined;
  try {
    const request = readConnect(message);
    const decision = admit(request, record, stages);
    refuseLoop(request.via, stages.dialOptions.viaName);
    const upstream = await reach(request.target, decision, record, stages, stop, {
      via: request.via,
    });

    // Whatever went wrong from here on, the client has been told that the tunnel is open: nothing more is said, and it is ended.
    upstreamSocket = upstream.socket;
    return startRelay(
      { client, upstream: upstream.socket, early: letGo(), reply: establishedReply(tunnelId) },
      record,
      stages,
      control,
    );
  } catch (error) {
    const refusal = asRefusal(error, stages.logger);
    record.refusal = refusal;
    record.timings = refusal.timings;
    if (refusal.reason === 'client_gone' || upstreamSocket !== undefined) {
      stop.abort(refusal);
      client.destroy();
      upstreamSocket?.destroy();
    } else replyRefused(client, refusal, { tunnelId, lingerMs: stages.lingerMs });
    return undefined;
  } finally {
    letGo();
  }
}

/** Hands both connections to the engine, and counts the tunnel as open. */
export function startRelay(
  tunnel: RelayTunnel,
  record: TunnelRecord,
  { engine, relayOptions, metrics }: Stages,
  control: RequestControl,
): Relay {
  const openedMs = performance.now();
  const relay = engine.relay(tunnel, relayOptions, control.stop.signal);
  record.relayed = { engine: relay.engine, bytes: relay.traffic, openedMs, ended: undefined };
  metrics.tunnelOpened(record);
  control.onRelayed(tunnel.client);
  return relay;
}
