import { once } from 'node:events';
import t from 'tap';
import { receiveAll } from './fixtures/endings.js';
import { LOOPBACK, reach, requestFor, unchunked, urlOf } from './fixtures/forwarding.js';
import { eventually, socketsOf } from './fixtures/process-state.js';
import { startProxy } from './fixtures/proxy.js';
import { checkRefusal } from './fixtures/refusals.js';
import { connectRaw, listenOn, readBytes, readHead, readToEnd } from './fixtures/sockets.js';

const FLAGS = [...LOOPBACK, '--no-via'];
const proxy = await startProxy(t, FLAGS);
const impatient = await startProxy(t, [...FLAGS, '--idle-timeout', '500ms']);

t.test('an origin that does not answer in HTTP is 502, and told from one that does not answer', async (t) => {
  const rows: readonly (readonly [
    what: string,
    answer: string,
    reason: 'connection_terminated' | 'http_protocol_error',
  ])[] = [
    ['nothing', '', 'connection_terminated'],
    ['half a status line', 'HTTP/1.1 2', 'connection_terminated'],
    ['half a head', 'HTTP/1.1 200 OK\r\nA: b\r\n', 'connection_terminated'],
    ['garbage', 'what is this?\r\n\r\n', 'http_protocol_error'],
    ['SSH', 'SSH-2.0-OpenSSH_9\r\n', 'http_protocol_error'],
    ['TLS', '\x15\x03\x01\x00\x02\x02\x46', 'http_protocol_error'],
    ['no version', 'HTTP/x 200 OK\r\n\r\n', 'http_protocol_error'],
    ['HTTP/2.0', 'HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n', 'http_protocol_error'],
    ['no status', 'HTTP/1.1 OK\r\n\r\n', 'http_protocol_error'],
    [
      'a head without end',
      `HTTP/1.1 200 OK\r\n${`A: ${'b'.repeat(100)}\r\n`.repeat(2000)}`,
      'http_protocol_error',
    ],
    ['101 to nothing', 'HTTP/1.1 101 Switching\r\n\r\n', 'http_protocol_error'],
    [
      '101 that nobody asked for',
      'HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n',
      'http_protocol_error',
    ],
    [
      'a length and chunks',
      'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      'http_protocol_error',
    ],
    [
      'two lengths',
      'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello',
      'http_protocol_error',
    ],
    ['a list of lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello', 'http_protocol_error'],
    ['a signed length', 'HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello', 'http_protocol_error'],
    [
      'a coding beside chunks',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
      'http_protocol_error',
    ],
    [
      'a coding instead of chunks',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello',
      'http_protocol_error',
    ],
    ['a folded field', 'HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n', 'http_protocol_error'],
    ['NUL in a field', 'HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 0\r\n\r\n', 'http_protocol_error'],
  ];
  for (const host of ['127.0.0.1', '::1']) {
    const peer = await listenOn(t, host);
    let answer = '';
    peer.server.on('connection', (socket) => socket.resume().end(Buffer.from(answer, 'latin1')));
    for (const [what, bytes, reason] of rows) {
      answer = bytes;
      await t.test(`${what}, ${host}`, (t) =>
        checkRefusal(t, proxy, requestFor(urlOf(peer)), { status: 502, reason }),
      );
    }
  }
});

t.test('an origin that resets before it answers is 502', async (t) => {
  const peer = await listenOn(t);
  const { client, origin } = await reach(t, proxy, peer, requestFor(urlOf(peer)));
  origin.resetAndDestroy();
  t.match((await receiveAll(client)).bytes.toString(), /^HTTP\/1\.1 502 connection_terminated: /);
});

t.test('an origin that is silent is 504 after --idle-timeout', async (t) => {
  const peer = await listenOn(t);
  const startedMs = performance.now();
  await checkRefusal(t, impatient, requestFor(urlOf(peer)), {
    status: 504,
    reason: 'http_response_timeout',
    says: /--idle-timeout/,
  });
  t.ok(performance.now() - startedMs >= 490);
  t.equal((await readHead(await peer.next())).text.split('\r\n')[0], 'GET / HTTP/1.1');
});

/** How an answer may be cut short, whatever its framing. */
const FRAMINGS: readonly (readonly [what: string, head: string, part: string])[] = [
  ['short of its length', 'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n', 'hello'],
  ['in mid-chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', '400\r\nhello'],
  ['without the last chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', '5\r\nhello\r\n'],
  [
    'within the trailers',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
    '5\r\nhello\r\n0\r\nA: b\r\n',
  ],
  ['in a bad chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', '5\r\nhello\r\nwhat?\r\n'],
  ['ended by the connection', 'HTTP/1.1 200 OK\r\nServer: x\r\n\r\n', 'hello'],
];

t.test('an answer that is cut short never looks complete', async (t) => {
  const peer = await listenOn(t);
  for (const [what, head, part] of FRAMINGS) {
    for (const version of ['1.1', '1.0']) {
      for (const how of ['FIN', 'RST', 'bytes and RST at once', 'silence'] as const) {
        const isDelimitedByEnd = what === 'ended by the connection';
        if (isDelimitedByEnd && how === 'FIN') continue;
        await t.test(`${what}, by ${how}, to HTTP/${version}`, async (t) => {
          const through = how === 'silence' ? impatient : proxy;
          const { client, origin } = await reach(t, through, peer, requestFor(urlOf(peer), { version }));
          origin.write(head);
          const answer = await readHead(client);
          t.equal(answer.status, 200);
          if (how === 'bytes and RST at once') {
            origin.write(part);
            origin.resetAndDestroy();
          } else {
            await new Promise((resolve) => origin.write(part, resolve));
            if (what !== 'in a bad chunk') client.unshift(await readBytes(client, 1));
            if (how === 'FIN') origin.end();
            else if (how === 'RST') origin.resetAndDestroy();
          }
          const { bytes, end } = await receiveAll(client);
          t.equal(end, 'reset');
          const content = Buffer.concat([answer.rest, bytes]).toString();
          t.notMatch(content, /0\r\n\r\n$/, 'no last chunk is made up');
          const text = version === '1.1' && what !== 'short of its length' ? unchunked(content) : content;
          // Bytes that a reset has overtaken may be lost to anybody.
          t.ok('hello'.startsWith(text), 'and nothing is in it that was not sent');
          if (how === 'FIN' && what === 'short of its length')
            t.equal(text, 'hello', 'what there was arrives');
          const id = through.log.filter(({ event }) => event === 'decision').at(-1)?.tunnel;
          const close = await through.until(({ event, tunnel }) => event === 'close' && tunnel === id);
          const cause =
            how === 'silence' && what !== 'in a bad chunk'
              ? 'http_response_timeout'
              : 'http_response_incomplete';
          t.match(close, { cause, endedBy: 'upstream', status: 200, method: 'GET' });
        });
      }
    }
  }
});

t.test('a complete answer is whole for a slow reader, whatever the origin does behind it', async (t) => {
  const peer = await listenOn(t);
  const body = 'spliceway '.repeat(100_000);
  for (const behind of ['a reset', 'garbage', 'an end of file'] as const) {
    const { client, origin } = await reach(t, proxy, peer, requestFor(urlOf(peer), { method: 'POST' }));
    const written = new Promise((resolve) =>
      origin.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`, resolve),
    );
    const { rest } = await readHead(client);
    client.unshift(rest);
    await written;
    if (behind === 'garbage') origin.end('garbage\r\n\r\n');
    else if (behind === 'an end of file') origin.end();
    else {
      // Unread by the proxy, the answer would be lost with the connection.
      await eventually(
        () => origin.writableLength,
        (left) => left === 0,
      );
      origin.end();
      origin.destroy();
    }
    t.equal((await readBytes(client, body.length)).toString(), body, `${behind} behind it`);
    const next = await reach(t, proxy, peer, requestFor(urlOf(peer)), client);
    next.origin.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    t.equal((await readHead(client)).status, 200, 'and the connection is good for another');
  }
});

t.test('a client that leaves takes its connection to the origin along', async (t) => {
  const peer = await listenOn(t);
  const sockets = socketsOf(proxy.process);
  const upload = { method: 'POST', fields: 'Content-Length: 1000\r\n', body: 'some' };
  for (const leave of ['end', 'resetAndDestroy'] as const) {
    for (const options of [{}, upload]) {
      const what = `${leave} ${options === upload ? 'in mid-upload' : ''}`;
      const waiting = await reach(t, proxy, peer, requestFor(urlOf(peer), options));
      const before = await refusals();
      waiting.client[leave]();
      await receiveAll(waiting.origin);
      await proxy.until(({ event, reason }) => event === 'close' && reason === 'client_gone');
      await eventually(refusals, (count) => count === before + 1);

      const answered = await reach(t, proxy, peer, requestFor(urlOf(peer), options));
      answered.origin.write('HTTP/1.1 200 OK\r\nServer: x\r\n\r\nhello');
      await readHead(answered.client);
      const gone = proxy.log.filter(({ cause }) => cause === 'client_gone').length;
      answered.client[leave]();
      await receiveAll(answered.origin);
      if (leave === 'end')
        t.equal((await receiveAll(answered.client)).end, 'reset', `${what}: no answer that looks complete`);
      await eventually(
        () => proxy.log.filter(({ cause }) => cause === 'client_gone').length,
        (count) => count === gone + 1,
      );
      t.match(proxy.log.filter(({ cause }) => cause === 'client_gone').at(-1), { endedBy: 'client' }, what);
    }
  }
  await eventually(
    () => socketsOf(proxy.process),
    (count) => count <= sockets,
  );
  t.equal(await proxy.metric('spliceway_forwarded_requests_active'), 0);

  function refusals(): Promise<number> {
    return proxy.metric('spliceway_requests_total{code="499",reason="client_gone"}');
  }
});

t.test('a client that does not read its answer is not waited for for ever', async (t) => {
  const peer = await listenOn(t);
  const big = Buffer.alloc(32 * 1024 * 1024);
  for (const [what, head] of [
    ['in the midst', `HTTP/1.1 200 OK\r\nContent-Length: ${big.length}\r\n\r\n`],
    ['of an answer that was cut', `HTTP/1.1 200 OK\r\nContent-Length: ${big.length + 1}\r\n\r\n`],
  ] as const) {
    const { client, origin } = await reach(t, impatient, peer, requestFor(urlOf(peer)));
    origin.end(Buffer.concat([Buffer.from(head), big]));
    const id = impatient.log.filter(({ event }) => event === 'decision').at(-1)?.tunnel;
    const close = await impatient.until(({ event, tunnel }) => event === 'close' && tunnel === id);
    t.match(close, { cause: 'client_timeout', endedBy: 'client' }, what);
    t.equal((await receiveAll(client)).end, 'reset');
  }
});

t.test('content that does not parse is refused, and the origin does not take it for complete', async (t) => {
  const peer = await listenOn(t);
  const fields = 'Transfer-Encoding: chunked\r\n';
  const { client, origin } = await reach(t, proxy, peer, requestFor(urlOf(peer), { method: 'POST', fields }));
  client.write('5\r\nhello\r\nwhat?\r\n');
  t.match((await readToEnd(client)).bytes.toString(), /^HTTP\/1\.1 400 http_request_error: /);
  t.notMatch((await receiveAll(origin)).bytes.toString(), /0\r\n\r\n$/);

  const early = await reach(t, proxy, peer, requestFor(urlOf(peer), { method: 'POST', fields }));
  early.origin.write('HTTP/1.1 200 OK\r\n\r\nhello');
  await readHead(early.client);
  early.client.write('what?\r\n');
  t.equal((await receiveAll(early.client)).end, 'reset', 'in mid-answer nothing can be said any more');
});

t.test(
  'a name that does not resolve, a refused and a silent dial end as for CONNECT, and the client may leave meanwhile',
  async (t) => {
    const client = await connectRaw(t, proxy);
    client.write(requestFor('http://127.66.0.1/'));
    await proxy.until(({ event, target }) => event === 'decision' && target === '127.66.0.1:80');
    client.end();
    await once(client.resume(), 'close');
    const close = await proxy.until(({ event, target }) => event === 'close' && target === '127.66.0.1:80');
    t.match(close, { reason: 'client_gone', method: 'GET' });
  },
);
