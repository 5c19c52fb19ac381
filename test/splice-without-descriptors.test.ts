import { randomBytes } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import t from 'tap';
import { receiveAll } from './fixtures/endings.js';
import { presentEngines, relayPair } from './fixtures/relay-pair.js';

t.test('a tunnel that cannot be handed over, for want of descriptors, is moved by streams', async (t) => {
  const [splice] = presentEngines();
  if (splice === undefined) throw new Error('no engine');
  const taken: number[] = [];
  t.teardown(() => taken.forEach(closeSync));
  const bytes = randomBytes(300_000);
  const { client, upstream, engine, end } = await relayPair(t, splice, '127.0.0.1', {
    early: Buffer.from('early'),
    before: async ({ client }) => {
      // Some of it will have been read ahead of the relay.
      client.write(bytes);
      for (;;) {
        try {
          taken.push(openSync('/dev/null', 'r'));
        } catch {
          break;
        }
      }
    },
  });
  t.equal(engine, 'stream');
  taken.splice(0).forEach(closeSync);
  client.end();
  const received = await receiveAll(upstream);
  t.ok(
    received.bytes.equals(Buffer.concat([Buffer.from('early'), bytes])),
    'no byte is lost, doubled or moved',
  );
  upstream.end();
  t.same(await end, { cause: 'client_fin' });
});
