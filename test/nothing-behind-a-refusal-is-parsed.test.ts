import t from 'tap';
import type { Reason } from '../src/reasons.js';
import { eventually } from './fixtures/process-state.js';
import { AUTHORIZATION, startProxy } from './fixtures/proxy.js';
import { checkComplete, refusalOf } from './fixtures/refusals.js';
import { connectHead, connectRaw, listenOn, type Peer, readHead } from './fixtures/sockets.js';

/** Requests that are refused at different places of the way: each ends the reading of its connection in its own manner. */
const REFUSED: readonly (readonly [what: string, request: string, status: number, reason: Reason])[] = [
  ['by the parser', 'CONNECT host.test:443 HTTX/1.1\r\n\r\n', 400, 'http_request_error'],
  ['by the parser, half way', 'CONNECT host.test:443 HTTP/1.1\r\nA b\r\n\r\n', 400, 'http_request_error'],
  ['as too long', `CONNECT ${'h'.repeat(20_000)}:443 HTTP/1.1\r\n\r\n`, 414, 'uri_too_long'],
  ['for its method', 'GET / HTTP/1.1\r\nHost: host.test\r\n\r\n', 405, 'method_not_allowed'],
  [
    'for its method, with content',
    'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n',
    405,
    'method_not_allowed',
  ],
  [
    'for its method, with chunks',
    'POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n',
    405,
    'method_not_allowed',
  ],
  [
    'for its method, with a CONNECT behind it',
    `GET / HTTP/1.1\r\nHost: h\r\n\r\n${connectHead('host.test:443')}`,
    405,
    'method_not_allowed',
  ],
  ['for its fields', `CONNECT host.test:443 HTTP/1.1\r\n${AUTHORIZATION}\r\n`, 400, 'http_request_error'],
  ['for its target', connectHead('host.test'), 400, 'target_invalid'],
  ['for its credentials', 'CONNECT host.test:443 HTTP/1.1\r\nHost: h\r\n\r\n', 407, 'credentials_missing'],
  ['by the policy', connectHead('10.77.0.1:9'), 403, 'destination_denied'],
  ['after the dial', connectHead('127.0.0.1:9'), 502, 'connection_refused'],
  ['after DNS', connectHead('no-such-name.test:443'), 502, 'dns_error'],
];

const FLAGS = ['--allow', '127.0.0.0/8:*', '--allow', '*.test:443'];

t.test('a second request behind a refused one gets no answer and reaches nobody', async (t) => {
  const peer = await listenOn(t);
  peer.server.on('connection', () => t.fail('the second request was served'));
  const proxy = await startProxy(t, [...FLAGS, '--linger-timeout', '60s']);
  for (const [what, request, status, reason] of REFUSED) {
    for (const second of [
      connectHead(authorityOf(peer)),
      'GET / HTTP/1.1\r\nHost: h\r\n\r\n',
      'garbage\r\n\r\n',
    ]) {
      const [begin] = second.split(' ');
      await t.test(`refused ${what}, ${begin} behind it in one segment`, async (t) => {
        checkComplete(t, await refusalOf(t, proxy, request + second + second), { status, reason });
      });
      await t.test(`refused ${what}, ${begin} behind it in the next segment`, async (t) => {
        const socket = await connectRaw(t, proxy);
        socket.write(request);
        const head = await readHead(socket);
        socket.write(second);
        socket.end();
        const chunks: Buffer[] = [head.rest];
        for await (const chunk of socket) chunks.push(chunk);
        t.equal(head.status, status);
        t.equal(Buffer.concat(chunks).length, Number(head.headers['content-length']), 'and nothing more');
      });
    }
  }
  t.equal(await proxy.metric('spliceway_requests_total{code="200",reason="established"}'), 0);
  t.equal(
    await eventually(
      () => proxy.log.filter(({ event }) => event === 'decision').length,
      (count) => count >= REFUSED.length * 6,
    ),
    REFUSED.length * 6,
    'one decision for a connection',
  );
});

t.test('what a client sends behind a refused head does not take the answer away', async (t) => {
  // As long as a busy machine may take for all of it.
  const proxy = await startProxy(t, [...FLAGS, '--linger-timeout', '60s']);
  // Larger than what the socket buffers of both ends hold without anybody reading.
  for (const bytes of [256 * 1024, 32 * 1024 * 1024]) {
    const early = Buffer.alloc(bytes, 'early data ');
    for (const [what, request, status, reason] of REFUSED) {
      await t.test(`refused ${what}, ${bytes} bytes behind it`, async (t) => {
        const socket = await connectRaw(t, proxy);
        const written = new Promise<void>((resolve, reject) =>
          socket.write(Buffer.concat([Buffer.from(request), early]), (error) =>
            error ? reject(error) : resolve(),
          ),
        );
        await t.resolves(written, 'the proxy reads all of it');
        const head = await readHead(socket);
        t.equal(head.status, status);
        t.match(head.headers['proxy-status'], `error=${reason}`);
        const rest = [head.rest];
        for await (const chunk of socket.resume()) rest.push(chunk);
        t.equal(
          Buffer.concat(rest).length,
          Number(head.headers['content-length']),
          'the whole answer, then FIN',
        );
      });
    }
  }
});

t.test('a client that goes on for ever is cut when the lingering is over', async (t) => {
  const proxy = await startProxy(t, [...FLAGS, '--linger-timeout', '300ms']);
  const cut = async ([what, request, status]: (typeof REFUSED)[number]) => {
    const socket = await connectRaw(t, proxy);
    const startedMs = performance.now();
    socket.write(request);
    t.equal((await readHead(socket)).status, status, `refused ${what}: the answer came first`);
    const drip = setInterval(() => socket.write('x'), 5);
    t.teardown(() => clearInterval(drip));
    const hadError = await new Promise<boolean>((resolve) => socket.resume().once('close', resolve));
    t.equal(hadError, true, `refused ${what}: the proxy reset the connection`);
    t.ok(performance.now() - startedMs >= 290, 'not before the deadline');
  };
  await Promise.all(REFUSED.map(cut));
});

function authorityOf(peer: Peer): string {
  return `${peer.host}:${peer.port}`;
}
