import { getEventListeners } from 'node:events';
import type { Socket } from 'node:net';
import type { RelayCause } from '../src/relay/relay.js';
import { resetNow } from '../src/relay/reset.js';
import { receiveAll } from './fixtures/endings.js';
import { socketsOf } from './fixtures/process-state.js';
import { eachRelay, type RelayPair, type RelayPairOptions } from './fixtures/relay-pair.js';
import { readBytes } from './fixtures/sockets.js';

/** A way for a tunnel to end. */
interface Ending {
  readonly name: string;
  readonly cause: RelayCause;
  readonly options?: RelayPairOptions;
  readonly act: (pair: RelayPair) => Promise<void> | void;
}

const ENDINGS: readonly Ending[] = [
  {
    name: 'the client ends first, then the upstream',
    cause: 'client_fin',
    act: async ({ client, upstream }) => {
      client.end('up');
      await receiveAll(upstream);
      upstream.end('down');
    },
  },
  {
    name: 'the upstream ends first, then the client',
    cause: 'upstream_fin',
    act: async ({ client, upstream }) => {
      upstream.end('down');
      await receiveAll(client);
      client.end('up');
    },
  },
  { name: 'the client resets', cause: 'client_reset', act: ({ client }) => resetNow(client) },
  { name: 'the upstream resets', cause: 'upstream_reset', act: ({ upstream }) => resetNow(upstream) },
  {
    name: 'the client resets what the upstream has half closed',
    cause: 'client_reset',
    act: async ({ client, upstream }) => {
      upstream.end();
      await receiveAll(client);
      resetNow(client);
    },
  },
  {
    name: 'the upstream resets what the client has half closed',
    cause: 'upstream_reset',
    act: async ({ client, upstream }) => {
      client.end();
      await receiveAll(upstream);
      resetNow(upstream);
    },
  },
  {
    name: 'it idles',
    cause: 'idle_timeout',
    options: { idleTimeoutMs: 20 },
    act: () => {},
  },
  {
    name: 'one half idles',
    cause: 'half_close_timeout',
    options: { halfCloseTimeoutMs: 20 },
    act: ({ client }) => void client.end(),
  },
  { name: 'it is aborted', cause: 'aborted', act: ({ abort }) => abort() },
];

for (const { name, cause, options = {}, act } of ENDINGS) {
  eachRelay(`the end is ${cause} when ${name}`, async (t, relay) => {
    const sockets = socketsOf(process);
    const pair = await relay.pair(t, { early: Buffer.from('early'), ...options });
    await readBytes(pair.upstream, 5);
    let reports = 0;
    const reported = pair.end.then(() => {
      reports += 1;
    });
    await act(pair);
    t.same(await pair.end, { cause });
    for (const socket of Object.values(pair.inner)) t.ok(socket.destroyed, 'closed when the end is reported');
    t.same(getEventListeners(pair.signal, 'abort'), [], 'nobody listens for an abort any more');

    // Whatever comes later is no second end.
    pair.abort();
    await Promise.all([close(pair.client), close(pair.upstream), reported]);
    t.equal(socketsOf(process), sockets, 'every socket is closed');
    t.equal(reports, 1);
  });
}

async function close(peer: Socket): Promise<void> {
  if (peer.closed) return;
  const closed = new Promise((resolve) => peer.once('close', resolve));
  resetNow(peer);
  await closed;
}
