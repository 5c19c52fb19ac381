import t from 'tap';
import { resetNow } from '../src/relay/reset.js';
import { receiveAll } from './fixtures/endings.js';
import { startForward, throughPort } from './fixtures/forward.js';
import { connectRaw, listenOn, readBytes } from './fixtures/sockets.js';

const NOTHING = Buffer.alloc(0);

for (const [listen, host] of [
  ['127.0.0.1:0', '127.0.0.1'],
  ['[::1]:0', '::1'],
] as const) {
  for (const relay of ['splice', 'stream'] as const) {
    t.test(`each connection to ${listen} is a tunnel to the target, by ${relay}`, async (t) => {
      const peer = await listenOn(t, host);
      const target = host === '::1' ? `[::1]:${peer.port}` : `127.0.0.1:${peer.port}`;
      const port = await startForward(t, target, ['--listen', listen, '--relay', relay]);
      let ended = 0;
      const closes = () => port.log.filter(({ event }) => event === 'close');
      const nextClose = async () => {
        ended += 1;
        await port.until(() => closes().length === ended);
        return closes().at(-1);
      };

      await t.test('bytes both ways, and halves that end one by one', async (t) => {
        const { client, upstream } = await throughPort(t, port, peer);
        // The upstream may be the first to speak: nothing is read of the client before.
        upstream.write('220 ready');
        t.equal((await readBytes(client, 9)).toString(), '220 ready');
        client.end('ping');
        t.same(await receiveAll(upstream), { bytes: Buffer.from('ping'), end: 'fin' });
        upstream.write('the other half');
        t.equal((await readBytes(client, 14)).toString(), 'the other half', 'goes on');
        upstream.end();
        t.same(await receiveAll(client), { bytes: NOTHING, end: 'fin' });
        t.match(await nextClose(), {
          target,
          address: target,
          bytesUp: 4,
          bytesDown: 23,
          engine: relay,
          endedBy: 'client',
          cause: 'client_fin',
        });
      });

      await t.test('the upstream ends its half first', async (t) => {
        const { client, upstream } = await throughPort(t, port, peer);
        upstream.end('bye');
        t.same(await receiveAll(client), { bytes: Buffer.from('bye'), end: 'fin' });
        client.end('thanks');
        t.same(await receiveAll(upstream), { bytes: Buffer.from('thanks'), end: 'fin' });
        t.match(await nextClose(), { cause: 'upstream_fin', bytesUp: 6, bytesDown: 3 });
      });

      await t.test('a client that ends its half without a byte has a tunnel all the same', async (t) => {
        const client = await connectRaw(t, port);
        client.end();
        const upstream = await peer.next();
        t.same(await receiveAll(upstream), { bytes: NOTHING, end: 'fin' });
        upstream.end('the time of day');
        t.same(await receiveAll(client), { bytes: Buffer.from('the time of day'), end: 'fin' });
        t.match(await nextClose(), { cause: 'client_fin', bytesUp: 0, bytesDown: 15 });
      });

      await t.test('a reset of the client resets the upstream, behind the bytes before it', async (t) => {
        const { client, upstream } = await throughPort(t, port, peer);
        client.write('half a');
        t.equal((await readBytes(upstream, 6)).toString(), 'half a');
        resetNow(client);
        t.same(await receiveAll(upstream), { bytes: NOTHING, end: 'reset' });
        t.match(await nextClose(), { cause: 'client_reset', bytesUp: 6 });
      });

      await t.test('a reset of the upstream resets the client', async (t) => {
        const { client, upstream } = await throughPort(t, port, peer);
        upstream.write('half an');
        t.equal((await readBytes(client, 7)).toString(), 'half an');
        resetNow(upstream);
        t.same(await receiveAll(client), { bytes: NOTHING, end: 'reset' });
        t.match(await nextClose(), { cause: 'upstream_reset', bytesDown: 7 });
      });

      t.equal(await port.metric(`spliceway_tunnels_total{engine="${relay}"}`), ended);
      t.equal(await port.metric(`spliceway_tunnels_active{engine="${relay}"}`), 0);
      t.equal(await port.metric('spliceway_requests_total{code="200",reason="established"}'), ended);
      t.equal(await port.metric('spliceway_connections_total'), ended);
      t.equal(port.log.filter(({ event }) => event === 'decision').length, ended, 'one decision each');
      t.equal(await port.stop(), 0);
    });
  }
}
