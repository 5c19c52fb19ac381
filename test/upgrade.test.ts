import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { WebSocket, WebSocketServer } from 'ws';
import { AUTHORIZATION, type RunningProxy, startProxy } from './fixtures/proxy.js';
import { listenOn, readBytes, readHead, readToEnd } from './fixtures/sockets.js';
import { type SpdyStream, speakSpdy } from './fixtures/spdy.js';
import { ask, closeOf, lastAnswerOf, offerHead, openUpgraded, switching } from './fixtures/upgrade.js';

const ALLOWED = ['--allow', '127.0.0.0/8:*', '--allow', '[::1]:*'];
const MIB = 1024 * 1024;
const [, CREDENTIALS = ''] = AUTHORIZATION.trim().split(': ');

for (const host of ['127.0.0.1', '::1']) {
  t.test(`an offer that the origin takes makes a tunnel on the native relay (${host})`, async (t) => {
    const peer = await listenOn(t, host);
    const proxy = await startProxy(t, ALLOWED);
    // What client-go sends for `kubectl exec`.
    const fields = `${AUTHORIZATION}Content-Length: 0\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n`;
    const offer = offerHead(peer, { method: 'POST', fields });
    const { client, upstream, request } = await ask(t, proxy, peer, offer);
    t.match(request.text, /^POST \/path\?query HTTP\/1\.1\r\n/, 'in origin-form');
    t.match(request.headers, {
      host: `${host.includes(':') ? `[${host}]` : host}:${peer.port}`,
      connection: 'Upgrade',
      upgrade: 'SPDY/3.1',
      'content-length': '0',
      'x-stream-protocol-version': 'v4.channel.k8s.io',
      via: /^1\.1 spliceway-/,
    });
    t.notMatch(request.text, /proxy-authorization/i);

    upstream.write(switching('SPDY/3.1'));
    const head = await readHead(client);
    t.match(head, { status: 101, phrase: 'Switching Protocols' });
    t.match(head.headers, { connection: 'Upgrade', upgrade: 'SPDY/3.1', 'x-origin': 'here' });
    t.equal(head.text.match(/upgrade: /gi)?.length, 1);
    client.write('ping');
    t.equal((await readBytes(upstream, 4)).toString(), 'ping');
    t.equal(await proxy.metric('spliceway_tunnels_active{engine="splice"}'), 1);
    upstream.end('pong!');
    t.same(await readToEnd(client), { bytes: Buffer.from('pong!'), end: 'fin' });
    client.end();
    t.same(await readToEnd(upstream), { bytes: Buffer.alloc(0), end: 'fin' });

    t.match(await closeOf(proxy, head), {
      engine: 'splice',
      method: 'POST',
      upgrade: 'SPDY/3.1',
      status: 101,
      user: 'migration',
      bytesUp: 4,
      bytesDown: 5,
      cause: 'upstream_fin',
    });
    t.equal(await proxy.metric('spliceway_upgrades_total{token="SPDY/3.1",result="switched"}'), 1);
    t.equal(await proxy.metric('spliceway_requests_total{code="101",reason="upgraded"}'), 1);
    t.equal(await proxy.metric('spliceway_tunnels_total{engine="splice"}'), 1);
    t.equal(await proxy.metric('spliceway_tunnels_active{engine="splice"}'), 0);
    t.equal(proxy.log.filter(({ event }) => event === 'close').length, 1);
  });
}

t.test('bytes that are early on either side come first, in order', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, ALLOWED);
  for (const size of [1, 517, MIB]) {
    await t.test(`${size} bytes`, async (t) => {
      const [up, down] = [randomBytes(size), randomBytes(size)];
      const { client, upstream, request } = await ask(t, proxy, peer, offerHead(peer));
      client.write(up);
      // On its way before the answer, and held for the tunnel: the origin has got the head alone.
      t.equal(request.rest.length, 0);
      upstream.write(Buffer.concat([Buffer.from(switching('SPDY/3.1')), down]));
      const head = await readHead(client);
      client.unshift(head.rest);
      const arrived = await Promise.all([readBytes(upstream, size), readBytes(client, size)]);
      t.same(arrived.map(sha256), [up, down].map(sha256));
      client.end();
      upstream.end();
      t.match(await closeOf(proxy, head), { bytesUp: size, bytesDown: size, engine: 'splice' });
    });
  }

  await t.test('in one segment with the head of the request, and with an end of file', async (t) => {
    const { client, upstream, request } = await ask(t, proxy, peer, `${offerHead(peer)}early`);
    client.end(' and last');
    t.equal(request.rest.length, 0);
    upstream.end(`${switching('SPDY/3.1')}all of it`);
    t.same(await readToEnd(upstream), { bytes: Buffer.from('early and last'), end: 'fin' });
    const answer = await lastAnswerOf(client);
    t.match(answer, { status: 101, rest: Buffer.from('all of it'), end: 'fin' });
    t.match(await closeOf(proxy, answer), { bytesUp: 14, bytesDown: 9 });
  });
});

t.test('interim answers come before the 101', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, ALLOWED);
  const { client, upstream } = await ask(t, proxy, peer, offerHead(peer));
  upstream.write(`HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${switching('SPDY/3.1')}`);
  const interim = await readHead(client);
  t.match(interim, { status: 103, headers: { link: '</a>' } });
  client.unshift(interim.rest);
  const head = await readHead(client);
  t.equal(head.status, 101);
  client.end();
  upstream.end();
  t.match(await closeOf(proxy, head), { engine: 'splice' });
});

t.test('tokens are found in any case among others, and go on in the order of the client', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, ALLOWED);
  const offers = [
    ['WebSocket', 'websocket', 'WEBSOCKET', 'websocket'],
    ['h2c, spdy/3.1', 'SPDY/3.1', 'SPDY/3.1', 'SPDY/3.1'],
    ['SPDY/3.1, h2c,websocket', 'SPDY/3.1, websocket', 'websocket', 'websocket'],
    ['websocket\r\nUpgrade: SPDY/3.1, websocket', 'websocket, SPDY/3.1', 'spdy/3.1', 'SPDY/3.1'],
  ] as const;
  const switched = { websocket: 0, 'SPDY/3.1': 0 };
  for (const [offered, forwarded, taken, token] of offers) {
    const offer = offerHead(peer, { upgrade: offered, connection: 'keep-alive, UPGRADE' });
    const { client, upstream, request } = await ask(t, proxy, peer, offer);
    t.match(request.headers, { connection: 'Upgrade', upgrade: forwarded }, offered);
    upstream.end(switching(taken));
    const head = await readHead(client);
    t.match(head, { status: 101, headers: { upgrade: token } });
    client.end();
    t.match(await closeOf(proxy, head), { upgrade: token });
    switched[token] += 1;
  }
  for (const [token, count] of Object.entries(switched))
    t.equal(await proxy.metric(`spliceway_upgrades_total{token="${token}",result="switched"}`), count);
});

for (const engine of ['splice', 'stream']) {
  t.test(`what the origin is offered, the connection can become (${engine})`, async (t) => {
    const peer = await listenOn(t);
    const proxy = await startProxy(t, [...ALLOWED, '--relay', engine]);
    // Parsers differ in whether this is an offer; Node 20's does not take it for one.
    const offer = offerHead(peer, { connection: '\tUpgrade\t' });
    const { client, upstream, request } = await ask(t, proxy, peer, offer);
    upstream.write(switching('SPDY/3.1'));
    const { status } = await readHead(client);
    if (!('upgrade' in request.headers)) {
      t.equal(status, 502);
      return;
    }
    t.equal(status, 101);
    client.end('up');
    t.same(await readToEnd(upstream), { bytes: Buffer.from('up'), end: 'fin' });
    upstream.end('down');
    t.same(await readToEnd(client), { bytes: Buffer.from('down'), end: 'fin' });
  });
}

t.test('a client of npm ws reaches a server of npm ws', async (t) => {
  const server = createServer();
  const sockets = new WebSocketServer({ server, perMessageDeflate: true });
  sockets.on('connection', (socket) =>
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary })),
  );
  const { port, proxy } = await originAndProxy(t, server);
  const url = `http://127.0.0.1:${port}/socket?a=b`;
  const client = new WebSocket(`ws://127.0.0.1:${port}/`, ['v5.channel.k8s.io'], {
    createConnection: () => connect(proxy.port, proxy.host),
    finishRequest(request) {
      request.path = url;
      request.setHeader('Proxy-Authorization', CREDENTIALS);
      request.end();
    },
  });
  t.teardown(() => client.terminate());
  const [, request] = (await once(sockets, 'connection')) as [WebSocket, IncomingMessage];
  t.equal(request.url, '/socket?a=b');
  await once(client, 'open');
  t.match(client, { protocol: 'v5.channel.k8s.io', extensions: /permessage-deflate/ });
  for (const words of ['short', randomBytes(MIB).toString('hex'), randomBytes(4 * MIB)]) {
    client.send(words);
    const [echo] = (await once(client, 'message')) as [Buffer];
    t.equal(sha256(echo), sha256(words));
  }
  client.close(1000, 'done');
  const [code, reason] = (await once(client, 'close')) as [number, Buffer];
  t.same([code, reason.toString()], [1000, 'done']);
  const close = await proxy.until(({ event }) => event === 'close');
  t.match(close, { upgrade: 'websocket', engine: 'splice', status: 101, endedBy: /client|upstream/ });
});

t.test('streams of spdy-transport run in both directions', async (t) => {
  const server = createServer();
  server.on('upgrade', (_request, socket) => {
    socket.write(switching('SPDY/3.1'));
    speakSpdy(socket, 'server').on('stream', (stream) => {
      stream.respond(200, { 'x-stream': stream.headers['x-stream'] ?? '' });
      stream.pipe(stream);
    });
  });
  const { port, proxy } = await originAndProxy(t, server);
  const request = httpRequest({
    ...{ host: proxy.host, port: proxy.port, method: 'POST', path: `http://127.0.0.1:${port}/exec` },
    headers: {
      ...{ 'Proxy-Authorization': CREDENTIALS, 'Content-Length': 0 },
      ...{ Connection: 'Upgrade', Upgrade: 'SPDY/3.1' },
    },
  });
  request.end();
  const [answer, socket, first] = (await once(request, 'upgrade')) as [IncomingMessage, Socket, Buffer];
  // The settings of the server.
  socket.unshift(first);
  t.teardown(() => socket.destroy());
  t.equal(answer.headers.upgrade, 'SPDY/3.1');
  const spdy = speakSpdy(socket, 'client');
  const echoes = ['one', 'two'].map(async (name) => {
    const bytes = randomBytes(3 * MIB);
    const stream = await new Promise<SpdyStream>((resolve, reject) =>
      spdy.request({ method: 'POST', host: 'x', path: '/', headers: { 'x-stream': name } }, (error, made) =>
        error === null ? resolve(made) : reject(error),
      ),
    );
    stream.write(bytes);
    const chunks: Buffer[] = [];
    let left = bytes.length;
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      left -= chunk.length;
      // Not before: spdy-transport answers what comes late for a stream that has ended, such as a window update, with an error.
      if (left === 0) stream.end();
    }
    t.equal(sha256(Buffer.concat(chunks)), sha256(bytes), name);
  });
  await Promise.all(echoes);
  spdy.end();
  socket.end();
  t.match(await proxy.until(({ event }) => event === 'close'), { upgrade: 'SPDY/3.1', engine: 'splice' });
});

t.test('--relay stream does the same', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, [...ALLOWED, '--relay', 'stream']);
  const { client, upstream, head } = await openUpgraded(t, proxy, peer);
  client.end('up');
  upstream.end('down');
  t.same(await readToEnd(upstream), { bytes: Buffer.from('up'), end: 'fin' });
  t.same(await readToEnd(client), { bytes: Buffer.from('down'), end: 'fin' });
  t.match(await closeOf(proxy, head), { engine: 'stream', status: 101, bytesUp: 2, bytesDown: 4 });
});

async function originAndProxy(
  t: Test,
  server: ReturnType<typeof createServer>,
): Promise<{ readonly port: number; readonly proxy: RunningProxy }> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo; // A TCP server that listens has one.
  return { port, proxy: await startProxy(t, ALLOWED) };
}

function sha256(bytes: Buffer | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}
