import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import t, { type Test } from 'tap';
import { resetNow } from '../src/relay/reset.js';
import { receiveAll } from './fixtures/endings.js';
import { AUTHORIZATION, startProxy } from './fixtures/proxy.js';
import { connectHead, connectRaw, listenOn, readBytes, readHead } from './fixtures/sockets.js';
import { ask, offerHead, switching } from './fixtures/upgrade.js';

const ALLOWED = ['--allow', '127.0.0.0/8:*'];

for (const engine of ['splice', 'stream']) {
  t.test(`what takes the connection is served behind the requests before it (${engine})`, async (t) => {
    const origin = { host: '127.0.0.1', port: await startOrigin(t) };
    const peer = await listenOn(t);
    const proxy = await startProxy(t, [...ALLOWED, '--relay', engine]);
    for (const request of [offerHead(peer), connectHead(`127.0.0.1:${peer.port}`)]) {
      const client = await connectRaw(t, proxy);
      client.write(plain(origin) + plain(origin) + request);
      for (const _ of [1, 2]) t.equal(await contentOf(client), 'GET /plain');
      const upstream = await peer.next();
      const isOffer = request.startsWith('GET');
      if (isOffer) {
        await readHead(upstream);
        upstream.write(switching('SPDY/3.1'));
      }
      t.equal((await readHead(client)).status, isOffer ? 101 : 200);
      client.write('up');
      t.equal((await readBytes(upstream, 2)).toString(), 'up');
      upstream.write('down');
      t.equal((await readBytes(client, 4)).toString(), 'down');
    }
    t.equal(await proxy.metric(`spliceway_tunnels_active{engine="${engine}"}`), 2);
  });
}

t.test('an offer that is dropped is, too, and the connection goes on', async (t) => {
  const origin = { host: '127.0.0.1', port: await startOrigin(t) };
  const proxy = await startProxy(t, ALLOWED);
  const client = await connectRaw(t, proxy);
  client.write(plain(origin) + offerHead(origin, { upgrade: 'h2c' }) + plain(origin));
  t.equal(await contentOf(client), 'GET /plain');
  t.equal(await contentOf(client), 'GET /path?query');
  t.equal(await contentOf(client), 'GET /plain');
  client.write(plain(origin));
  t.equal(await contentOf(client), 'GET /plain');
});

t.test('a client that leaves meanwhile takes what it waits for along', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, ALLOWED);
  const { client, upstream } = await ask(t, proxy, peer, plain(peer) + offerHead(peer));
  resetNow(client);
  t.match(await proxy.until(({ event }) => event === 'close'), { reason: 'client_gone' });
  t.equal((await receiveAll(upstream)).bytes.length, 0);
  t.equal(await proxy.metric('spliceway_upgrades_total{token="SPDY/3.1",result="failed"}'), 0);
});

/** An HTTP server that answers with the request. */
async function startOrigin(t: Test): Promise<number> {
  const origin = createServer((request, response) => response.end(`${request.method} ${request.url}`));
  origin.listen(0, '127.0.0.1');
  await once(origin, 'listening');
  t.teardown(() => origin.close());
  return (origin.address() as AddressInfo).port; // A TCP server that listens has one.
}

function plain({ host, port }: { readonly host: string; readonly port: number }): string {
  return `GET http://${host}:${port}/plain HTTP/1.1\r\nHost: ${host}\r\n${AUTHORIZATION}\r\n`;
}

/** Of the next answer; what is behind it stays to be read. */
async function contentOf(client: Socket): Promise<string> {
  const { headers, rest } = await readHead(client);
  client.unshift(rest);
  return (await readBytes(client, Number(headers['content-length']))).toString();
}
