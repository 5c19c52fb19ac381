import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import t from 'tap';
import { writeUntilStopped } from './fixtures/flood.js';
import { AUTHORIZATION, startProxy } from './fixtures/proxy.js';
import { checkRefusal, checkRefusalMetrics } from './fixtures/refusals.js';
import { listenOn, readHead, readToEnd } from './fixtures/sockets.js';
import { ask, lastAnswerOf, offerHead, switching } from './fixtures/upgrade.js';

const ALLOWED = ['--allow', '127.0.0.0/8:*', '--allow', '*.test:*'];
const MIB = 1024 * 1024;

t.test('an answer other than 101 is an ordinary one, and the connection is closed behind it', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, ALLOWED);
  const answers = [
    ['HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine', 'fine'],
    [
      'HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 24\r\n\r\nUpgrade request required',
      'Upgrade request required',
    ],
    ['HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n', ''],
    ['HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 2\r\n\r\nno', 'no'],
    ['HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\nuntil the end', 'until the end'],
    ['HTTP/1.1 204 No Content\r\n\r\n', ''],
    [
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nin a\r\n6\r\n chunk\r\n0\r\n\r\n',
      'in a chunk',
    ],
    ['HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n', ''],
  ] as const;
  for (const [answer, content] of answers) {
    const status = Number(/HTTP\/1\.1 ([2-5][0-9]{2})/.exec(answer)?.[1]);
    for (const early of ['', 'early bytes']) {
      const { client, upstream } = await ask(t, proxy, peer, offerHead(peer) + early);
      client.write('more of them');
      upstream.write(answer);
      if (answer.includes('until')) upstream.end();
      const { status: got, headers, rest, end } = await lastAnswerOf(client);
      t.equal(got, status);
      t.equal(headers.connection, 'close');
      t.notOk('upgrade' in headers);
      t.equal(headers['transfer-encoding'] === 'chunked' ? unchunked(rest) : rest.toString(), content);
      t.equal(end, 'fin', 'and no reset, whatever the client has sent');
      const port = client.localPort;
      client.end();
      t.same(await readToEnd(upstream), { bytes: Buffer.alloc(0), end: 'fin' }, 'early bytes go nowhere');
      const close = await proxy.until(
        (record) => record.event === 'close' && record.client === `127.0.0.1:${port}`,
      );
      t.match(close, { status, upgrade: 'SPDY/3.1', cause: 'complete' });
    }
  }
  const count = 2 * answers.length;
  t.equal(await proxy.metric('spliceway_upgrades_total{token="SPDY/3.1",result="declined"}'), count);
  t.equal(await proxy.metric('spliceway_upgrades_total{token="SPDY/3.1",result="switched"}'), 0);
  t.equal(await proxy.metric('spliceway_tunnels_total{engine="splice"}'), 0);
});

t.test('a large answer waits for a slow reader, and arrives whole', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, ALLOWED);
  const { client, upstream } = await ask(t, proxy, peer, offerHead(peer));
  const bytes = randomBytes(64 * MIB);
  upstream.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\n\r\n`);
  const taken = await writeUntilStopped(upstream, bytes);
  t.ok(taken < bytes.length / 2, `the origin had to stop after ${taken} bytes`);
  upstream.end(bytes.subarray(taken));
  const answer = await lastAnswerOf(client);
  t.ok(answer.rest.equals(bytes));
  t.match(answer, { status: 200, end: 'fin' });
});

t.test('a client that goes on sending gets the whole answer', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, ALLOWED);
  const { client, upstream } = await ask(t, proxy, peer, offerHead(peer));
  await writeUntilStopped(client, Buffer.alloc(64 * MIB));
  // Otherwise a reset, which may overtake the answer.
  const taken = once(client, 'drain').then(() => 'taken');
  const closed = once(client, 'close').then(() => 'closed');
  upstream.write('HTTP/1.1 400 Bad Request\r\nContent-Length: 4\r\n\r\nno\r\n');
  t.match(await lastAnswerOf(client), { status: 400, rest: Buffer.from('no\r\n'), end: 'fin' });
  t.equal(await Promise.race([taken, closed]), 'taken', 'what it sends is read, and dropped');
});

t.test('an answer that stays incomplete resets the client', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, ALLOWED);
  const { client, upstream } = await ask(t, proxy, peer, offerHead(peer));
  upstream.end('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf');
  t.match(await lastAnswerOf(client), { status: 200, rest: Buffer.from('half'), end: 'reset' });
});

t.test('an origin that switches to what it was not asked for is refused', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, [...ALLOWED, '--linger-timeout', '200ms']);
  const plain = `GET http://127.0.0.1:${peer.port}/ HTTP/1.1\r\nHost: x\r\n${AUTHORIZATION}\r\n`;
  const cases = [
    [offerHead(peer), switching('h2c'), /switched to h2c/],
    [offerHead(peer), switching('websocket'), /switched to websocket/],
    [offerHead(peer), 'HTTP/1.1 101 Switching Protocols\r\n\r\n', /did not say to which/],
    [
      offerHead(peer),
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\n\r\n',
      /did not say to which/,
    ],
    [plain, switching('SPDY/3.1'), /switched to spdy\/3\.1/],
    [offerHead(peer), 'SSH-2.0-OpenSSH_9.2\r\n', /does not parse/],
  ] as const;
  for (const [request, answer, says] of cases) {
    const answered = peer.next().then(async (upstream) => {
      await readHead(upstream);
      upstream.write(`${answer}bytes of another protocol`);
      return upstream;
    });
    await checkRefusal(t, proxy, request, { status: 502, reason: 'http_protocol_error', says });
    await readToEnd(await answered);
  }
  await checkRefusalMetrics(t, proxy);
  t.equal(await proxy.metric('spliceway_upgrades_total{token="SPDY/3.1",result="failed"}'), 5);
});

t.test('an origin that ends without an answer is refused', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, ALLOWED);
  const ended = peer.next().then((upstream) => upstream.resume().end());
  await checkRefusal(t, proxy, offerHead(peer), { status: 502, reason: 'connection_terminated' });
  await ended;
});

t.test('refusals of spliceway itself are complete', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, [...ALLOWED, '--deny', 'denied.test:*', '--linger-timeout', '200ms']);
  const to = { host: '127.0.0.1', port: peer.port };
  const closed = { host: '127.0.0.1', port: 1 };
  for (const early of ['', 'early bytes']) {
    const check = (request: string, expected: Parameters<typeof checkRefusal>[3]) =>
      checkRefusal(t, proxy, [request, early], expected);
    await check(offerHead(to, { fields: '' }), { status: 407, reason: 'credentials_missing' });
    await check(offerHead({ ...to, host: 'denied.test' }), { status: 403, reason: 'destination_denied' });
    await check(offerHead(closed), { status: 502, reason: 'connection_refused' });
    await check(offerHead({ ...to, host: 'no-such-name.test' }), { status: 502, reason: 'dns_error' });
  }
  await checkRefusalMetrics(t, proxy);
  const series = 'spliceway_upgrades_total{token="SPDY/3.1",result="failed"}';
  t.equal(await proxy.metric(series), 4, 'those that the policy allowed');
});

/** The content of chunks that are all there. */
function unchunked(bytes: Buffer): string {
  let content = '';
  for (let rest = bytes.toString('latin1'); rest !== ''; ) {
    const [, length = '', behind = ''] = /^([0-9a-f]+)\r\n(.*)$/is.exec(rest) ?? [];
    content += behind.slice(0, Number.parseInt(length, 16));
    rest = behind.slice(Number.parseInt(length, 16) + 2);
  }
  return content;
}
