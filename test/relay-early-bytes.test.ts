import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { receiveAll } from './fixtures/endings.js';
import { eachRelay } from './fixtures/relay-pair.js';
import { readBytes } from './fixtures/sockets.js';

eachRelay('bytes read ahead of the relay reach the upstream first, and count', async (t, relay) => {
  const { client, upstream, traffic, end } = await relay.pair(t, {
    early: Buffer.from('one '),
    before: async ({ client, inner }) => {
      // Behind the early bytes, and in the socket's own buffer when the relay starts.
      const arrived = once(inner.client, 'readable');
      client.write('two ');
      await arrived;
    },
  });
  client.end('three');
  t.same(await receiveAll(upstream), { bytes: Buffer.from('one two three'), end: 'fin' });
  upstream.end();
  t.same(await receiveAll(client), { bytes: Buffer.alloc(0), end: 'fin' });
  t.same(await end, { cause: 'client_fin' });
  t.match(traffic, { bytesUp: 13, bytesDown: 0, firstByteAtMs: undefined });
});

eachRelay('early bytes reach an upstream that speaks only when it is spoken to', async (t, relay) => {
  const { client, upstream } = await relay.pair(t, { early: Buffer.from('hello') });
  t.equal((await readBytes(upstream, 5)).toString(), 'hello');
  upstream.write('hello yourself');
  t.equal((await readBytes(client, 14)).toString(), 'hello yourself');
});

eachRelay(
  'more early bytes than the upstream takes at once stay in order with those behind',
  async (t, relay) => {
    const [early, later] = [randomBytes(8 * 1024 * 1024), randomBytes(8 * 1024 * 1024)];
    const { client, upstream, traffic } = await relay.pair(t, { early });
    client.end(later);
    const { bytes, end } = await receiveAll(upstream);
    t.equal(end, 'fin');
    t.ok(bytes.equals(Buffer.concat([early, later])), 'every byte, in order');
    t.equal(traffic.bytesUp, bytes.length);
  },
);

eachRelay(
  'early bytes of a client that has ended its half already arrive before the end of file',
  async (t, relay) => {
    const { client, upstream, end } = await relay.pair(t, {
      early: Buffer.from('the whole question'),
      before: async ({ client, inner }) => {
        const ended = once(inner.client, 'end');
        client.end();
        await ended;
      },
    });
    t.same(await receiveAll(upstream), { bytes: Buffer.from('the whole question'), end: 'fin' });
    upstream.end('the whole answer');
    t.same(await receiveAll(client), { bytes: Buffer.from('the whole answer'), end: 'fin' });
    t.same(await end, { cause: 'client_fin' });
  },
);
