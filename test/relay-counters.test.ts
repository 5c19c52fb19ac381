import { resetNow } from '../src/relay/reset.js';
import { readUntilEnd, receiveAll } from './fixtures/endings.js';
import { eachRelay, eachRelayBothWays } from './fixtures/relay-pair.js';
import { readBytes } from './fixtures/sockets.js';

eachRelay('the counters are live: what has arrived has been counted', async (t, relay) => {
  const { client, upstream, traffic } = await relay.pair(t, { early: Buffer.from('early') });
  await readBytes(upstream, 5);
  t.match(traffic, { bytesUp: 5, bytesDown: 0 });
  for (let round = 1; round <= 5; round += 1) {
    client.write('up');
    await readBytes(upstream, 2);
    t.match(traffic, { bytesUp: 5 + 2 * round, bytesDown: 4 * (round - 1) });
    upstream.write('down');
    await readBytes(client, 4);
    t.match(traffic, { bytesUp: 5 + 2 * round, bytesDown: 4 * round });
  }
});

eachRelay('the first byte of the upstream is timed, once', async (t, relay) => {
  const { client, upstream, traffic } = await relay.pair(t, { early: Buffer.from('early') });
  await readBytes(upstream, 5);
  t.equal(traffic.firstByteAtMs, undefined, 'not by bytes of the client');
  const beforeMs = performance.now();
  upstream.write('first');
  await readBytes(client, 5);
  const { firstByteAtMs = 0 } = traffic;
  t.ok(firstByteAtMs >= beforeMs && firstByteAtMs <= performance.now());
  upstream.write('second');
  await readBytes(client, 6);
  t.equal(traffic.firstByteAtMs, firstByteAtMs);
});

eachRelay('they never decrease, count what has arrived, and are exact at the end', async (t, relay) => {
  const { client, upstream, traffic, end } = await relay.pair(t);
  const [up, down] = [20_000_003, 30_000_001];
  client.end(Buffer.alloc(up));
  upstream.end(Buffer.alloc(down));
  const last = { bytesUp: 0, bytesDown: 0 };
  const arrived = { bytesUp: 0, bytesDown: 0 };
  const look = (counter: keyof typeof arrived) => (chunk: Buffer) => {
    arrived[counter] += chunk.length;
    const { bytesUp, bytesDown } = traffic;
    if (bytesUp < last.bytesUp || bytesDown < last.bytesDown) t.fail('a counter went down');
    if (bytesUp < arrived.bytesUp || bytesDown < arrived.bytesDown) t.fail('a counter came late');
    Object.assign(last, { bytesUp, bytesDown });
  };
  await Promise.all([readUntilEnd(client, look('bytesDown')), readUntilEnd(upstream, look('bytesUp'))]);
  await end;
  t.match(traffic, { bytesUp: up, bytesDown: down });
  t.same(arrived, { bytesUp: up, bytesDown: down });
});

eachRelayBothWays(
  'they are exact when the {one} resets behind its last bytes',
  async (t, relay, one, other) => {
    const pair = await relay.pair(t);
    pair[other].write('answer me');
    await readBytes(pair[one], 9);
    pair[one].write('last words');
    resetNow(pair[one]);
    t.equal((await receiveAll(pair[other])).bytes.length, 10);
    await pair.end;
    t.match(pair.traffic, one === 'client' ? { bytesUp: 10, bytesDown: 9 } : { bytesUp: 9, bytesDown: 10 });
  },
);
