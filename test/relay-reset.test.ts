import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { resetNow } from '../src/relay/reset.js';
import { receiveAll } from './fixtures/endings.js';
import { unacknowledged, writeUntilStopped } from './fixtures/flood.js';
import { eachRelay, eachRelayBothWays } from './fixtures/relay-pair.js';
import { readBytes } from './fixtures/sockets.js';

// These tests wait more than they work.
t.jobs = 4;

const reset = (words: string) => ({ bytes: Buffer.from(words), end: 'reset' });

eachRelayBothWays(
  'a reset of the {one} resets the {other}, which reads no end of file',
  async (t, relay, one, other) => {
    const pair = await relay.pair(t);
    pair[one].write('ping');
    t.equal((await readBytes(pair[other], 4)).toString(), 'ping');
    resetNow(pair[one]);
    t.same(await receiveAll(pair[other]), reset(''));
    t.same(await pair.end, { cause: `${one}_reset` });
  },
);

eachRelayBothWays(
  'what the {one} sent right before its reset arrives first',
  async (t, relay, one, other) => {
    const pair = await relay.pair(t);
    pair[one].write('last words');
    resetNow(pair[one]);
    t.same(await receiveAll(pair[other]), reset('last words'));
    t.same(await pair.end, { cause: `${one}_reset` });
  },
);

eachRelayBothWays(
  'so it does while the {other} sends to the {one} that has gone',
  async (t, relay, one, other) => {
    const pair = await relay.pair(t);
    // In this order the relay meets the reset by writing.
    pair[other].write('much to say');
    pair[one].write('last words');
    resetNow(pair[one]);
    t.same(await receiveAll(pair[other]), reset('last words'));
    t.same(await pair.end, { cause: `${one}_reset` });
  },
);

eachRelayBothWays('so it does when the {other} has ended its half before', async (t, relay, one, other) => {
  const pair = await relay.pair(t);
  pair[other].end('question');
  t.same(await receiveAll(pair[one]), { bytes: Buffer.from('question'), end: 'fin' });
  pair[one].write('half an answer');
  resetNow(pair[one]);
  t.same(await receiveAll(pair[other]), reset('half an answer'));
  t.same(await pair.end, { cause: `${one}_reset` });
});

eachRelayBothWays('a reset of the {one} passes after its own end of file', async (t, relay, one, other) => {
  const pair = await relay.pair(t);
  pair[one].end('question');
  t.same(await receiveAll(pair[other]), { bytes: Buffer.from('question'), end: 'fin' });
  resetNow(pair[one]);
  t.same(await pair.end, { cause: `${one}_reset` });
  pair[other].write('answer');
  const [error] = await once(pair[other], 'error');
  t.match(error, { code: /^(?:EPIPE|ECONNRESET)$/ });
});

for (const { name, trouble } of [
  { name: 'noticed by reading', trouble: '' },
  { name: 'noticed by writing', trouble: 'are you there?' },
]) {
  eachRelayBothWays(
    `the {other} that had stalled reads all that the {one} had got rid of, then the reset, ${name}`,
    async (t, relay, one, other) => {
      const bytes = randomBytes(64 * 1024 * 1024);
      const pair = await relay.pair(t);
      const written = await writeUntilStopped(pair[one], bytes);
      pair[other].write(trouble);
      // Read in the same turn as the reset: the relay does nothing in between.
      const accepted = written - (unacknowledged(pair[one]) ?? Number.NaN);
      resetNow(pair[one]);
      // Now the kernel has all that the relay had to send, and must not be made to forget it while the reader stalls again.
      const part = await readBytes(pair[other], Math.floor(accepted / 2));
      await sleep(200);
      const rest = await receiveAll(pair[other]);
      const received = Buffer.concat([part, rest.bytes]);
      t.comment(`${received.length} bytes were on their way`);
      t.equal(rest.end, 'reset');
      t.ok(received.equals(bytes.subarray(0, received.length)), 'bytes as they were sent');
      t.ok(received.length >= accepted, `all of the ${accepted} bytes`);
      t.same(await pair.end, { cause: `${one}_reset` });
    },
  );
}

eachRelay('resets of both sides at once end the tunnel', async (t, relay) => {
  const { client, upstream, inner, end } = await relay.pair(t);
  resetNow(client);
  resetNow(upstream);
  t.match(await end, { cause: /^(?:client|upstream)_reset$/ });
  t.ok(inner.client.destroyed && inner.upstream.destroyed);
});

for (const noticed of [false, true]) {
  const found = `that came before the relay and was ${noticed ? 'noticed' : 'not noticed yet'}`;

  eachRelay(`a reset of the upstream ${found} reaches the client behind the answer`, async (t, relay) => {
    const { client, end, inner } = await relay.pair(t, {
      before: async ({ upstream, inner }) => {
        const closed = new Promise((resolve) => inner.upstream.once('close', resolve));
        resetNow(upstream);
        if (noticed) await closed;
        inner.client.write('HTTP/1.1 200');
      },
    });
    // From the beginning: Node drops what nobody has read when it hears of the reset.
    const received = receiveAll(client);
    t.same(await end, { cause: 'upstream_reset' });
    t.ok(inner.client.destroyed, 'closed when the end is reported');
    t.same(await received, reset('HTTP/1.1 200'));
  });

  eachRelay(`a reset of the client ${found} reaches the upstream behind early bytes`, async (t, relay) => {
    const { upstream, end, inner } = await relay.pair(t, {
      early: Buffer.from('early'),
      before: async ({ client, inner }) => {
        const closed = new Promise((resolve) => inner.client.once('close', resolve));
        resetNow(client);
        if (noticed) await closed;
      },
    });
    const received = receiveAll(upstream);
    t.same(await end, { cause: 'client_reset' });
    t.ok(inner.upstream.destroyed, 'closed when the end is reported');
    t.same(await received, reset('early'));
  });
}
