import { once } from 'node:events';
import { receiveAll } from './fixtures/endings.js';
import { eachRelay, eachRelayBothWays } from './fixtures/relay-pair.js';
import { readBytes } from './fixtures/sockets.js';

const fin = (words: string) => ({ bytes: Buffer.from(words), end: 'fin' });

eachRelayBothWays(
  'the end of file of the {one} reaches the {other}, which sends on',
  async (t, relay, one, other) => {
    const { [one]: ending, [other]: lasting, end } = await relay.pair(t);
    ending.end('last words');
    t.same(await receiveAll(lasting), fin('last words'));
    for (const word of ['one', 'two', 'three']) {
      lasting.write(word);
      t.equal((await readBytes(ending, word.length)).toString(), word);
    }
    lasting.end('bye');
    t.same(await receiveAll(ending), fin('bye'));
    t.same(await end, { cause: `${one}_fin` });
  },
);

eachRelayBothWays(
  'an end of file of the {one} passes without a byte before it',
  async (t, relay, one, other) => {
    const pair = await relay.pair(t);
    pair[one].end();
    t.same(await receiveAll(pair[other]), fin(''));
    pair[other].end();
    t.same(await receiveAll(pair[one]), fin(''));
    t.same(await pair.end, { cause: `${one}_fin` });
    t.match(pair.traffic, { bytesUp: 0, bytesDown: 0 });
  },
);

eachRelay('ends of file that cross each other both arrive', async (t, relay) => {
  const { client, upstream, end } = await relay.pair(t);
  client.end('up');
  upstream.end('down');
  t.same(await Promise.all([receiveAll(upstream), receiveAll(client)]), [fin('up'), fin('down')]);
  t.match((await end).cause, /_fin$/);
});

eachRelayBothWays(
  'the {one} may end its half while the {other} does not read',
  async (t, relay, one, other) => {
    const pair = await relay.pair(t);
    const much = Buffer.alloc(4 * 1024 * 1024, 'much');
    pair[one].end(much);
    // Answered before a byte of it was read: the other direction does not wait.
    pair[other].write('hurry');
    t.equal((await readBytes(pair[one], 5)).toString(), 'hurry');
    const received = await receiveAll(pair[other]);
    t.equal(received.end, 'fin');
    t.ok(received.bytes.equals(much), 'every byte before the end of file');
    pair[other].end();
    t.same(await receiveAll(pair[one]), fin(''));
    t.same(await pair.end, { cause: `${one}_fin` });
  },
);

/** How the side's end of file looks to Node when the relay starts: reported already, or behind a byte that nobody has read. */
for (const { words, noticed } of [
  { words: '', noticed: 'end' },
  { words: 'words', noticed: 'readable' },
]) {
  const came = `an end of file that the {one} sent ${words === '' ? '' : 'behind words '}before the relay`;
  eachRelayBothWays(`${came} passes, and the tunnel goes on`, async (t, relay, one, other) => {
    const pair = await relay.pair(t, {
      before: async (peers) => {
        const arrived = once(peers.inner[one], noticed);
        peers[one].end(words);
        await arrived;
      },
    });
    t.same(await receiveAll(pair[other]), fin(words));
    pair[other].end('answer');
    t.same(await receiveAll(pair[one]), fin('answer'));
    t.same(await pair.end, { cause: `${one}_fin` });
  });
}

eachRelayBothWays(
  'once the {one} is gone for good, what the {other} sends is answered by a reset',
  async (t, relay, one, other) => {
    const pair = await relay.pair(t);
    pair[one].end();
    await receiveAll(pair[other]);
    // Closed altogether, and politely: it takes bytes that still come to tell it from a half-close.
    pair[one].destroy();
    await once(pair[one], 'close');
    pair[other].write('is anybody there?');
    t.same(await pair.end, { cause: `${one}_reset` });
    pair[other].write('');
    const [error] = await once(pair[other], 'error');
    t.match(error, { code: /^(?:EPIPE|ECONNRESET)$/ });
  },
);
