import { once } from 'node:events';
import { resetNow } from '../src/relay/reset.js';
import { receiveAll } from './fixtures/endings.js';
import { writeUntilStopped } from './fixtures/flood.js';
import { eachRelay, eachRelayBothWays } from './fixtures/relay-pair.js';
import { readBytes } from './fixtures/sockets.js';

const RESET = { bytes: Buffer.alloc(0), end: 'reset' };
const MUCH = Buffer.alloc(64 * 1024 * 1024);

eachRelay('an abort resets both sides, and neither reads an end of file', async (t, relay) => {
  const { client, upstream, end, abort } = await relay.pair(t);
  client.write('ping');
  t.equal((await readBytes(upstream, 4)).toString(), 'ping');
  abort();
  t.same(await end, { cause: 'aborted' });
  t.same(await Promise.all([receiveAll(client), receiveAll(upstream)]), [RESET, RESET]);
});

eachRelay('an abort does not wait for readers that have stalled', async (t, relay) => {
  const { client, upstream, end, abort } = await relay.pair(t);
  await Promise.all([writeUntilStopped(client, MUCH), writeUntilStopped(upstream, MUCH)]);
  const closed = [client, upstream].map((peer) => new Promise((resolve) => peer.once('close', resolve)));
  abort();
  t.same(await end, { cause: 'aborted' });
  await Promise.all(closed);
});

eachRelayBothWays(
  'an abort resets both sides after the end of file of the {one}',
  async (t, relay, one, other) => {
    const pair = await relay.pair(t);
    pair[one].end();
    t.same(await receiveAll(pair[other]), { bytes: Buffer.alloc(0), end: 'fin' });
    pair.abort();
    t.same(await pair.end, { cause: 'aborted' });
    t.same(await receiveAll(pair[one]), RESET);
    pair[other].write('too late');
    const [error] = await once(pair[other], 'error');
    t.match(error, { code: /^(?:EPIPE|ECONNRESET)$/ });
  },
);

eachRelayBothWays(
  'an abort that meets the end of file of the {one} ends the tunnel',
  async (t, relay, one) => {
    for (let turns = 0; turns < 6; turns += 1) {
      const pair = await relay.pair(t);
      pair[one].end();
      for (let turn = 0; turn < turns; turn += 1) await new Promise(setImmediate);
      pair.abort();
      t.same(await pair.end, { cause: 'aborted' }, `${turns} turns of the event loop later`);
      t.ok(pair.inner.client.destroyed && pair.inner.upstream.destroyed);
    }
  },
);

eachRelayBothWays(
  'an abort ends the waiting of a reset of the {one} for a reader that has stalled',
  async (t, relay, one, other) => {
    const pair = await relay.pair(t);
    await writeUntilStopped(pair[one], MUCH);
    pair[other].write('noticed by writing');
    resetNow(pair[one]);
    for (let turn = 0; turn < 6; turn += 1) await new Promise(setImmediate);
    pair.abort();
    const { cause } = await pair.end;
    t.ok(cause === `${one}_reset` || cause === 'aborted', cause);
    t.equal((await receiveAll(pair[other])).end, 'reset');
  },
);

eachRelay('a signal that was aborted before is an abort', async (t, relay) => {
  const { client, upstream, end } = await relay.pair(t, { early: Buffer.from('early'), aborted: true });
  t.same(await end, { cause: 'aborted' });
  t.equal((await receiveAll(client)).end, 'reset');
  t.equal((await receiveAll(upstream)).end, 'reset');
});
