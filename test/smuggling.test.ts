import t from 'tap';
import { LOOPBACK, requestFor, urlOf } from './fixtures/forwarding.js';
import { startProxy } from './fixtures/proxy.js';
import { checkRefusal } from './fixtures/refusals.js';
import { listenOn } from './fixtures/sockets.js';

const CHUNKED = 'Transfer-Encoding: chunked\r\n';

/** What two readers could frame in two ways: fields, and what stands behind them. */
const AMBIGUOUS: readonly (readonly [what: string, fields: string, body?: string, version?: string])[] = [
  ['a length and chunks', `Content-Length: 5\r\n${CHUNKED}`],
  ['chunks and a length', `${CHUNKED}Content-Length: 5\r\n`],
  ['two lengths', 'Content-Length: 5\r\nContent-Length: 6\r\n'],
  ['the same length twice', 'Content-Length: 5\r\nContent-Length: 5\r\n'],
  ['a list of lengths', 'Content-Length: 5, 5\r\n'],
  ['a length with a sign', 'Content-Length: +5\r\n'],
  ['a negative length', 'Content-Length: -5\r\n'],
  ['a hexadecimal length', 'Content-Length: 0x5\r\n'],
  ['a length with a blank in it', 'Content-Length: 1 0\r\n'],
  ['an empty length', 'Content-Length: \r\n'],
  ['a length beyond all numbers', 'Content-Length: 99999999999999999999\r\n'],
  ['a coding before chunks', 'Transfer-Encoding: gzip, chunked\r\n'],
  ['a coding behind chunks', 'Transfer-Encoding: chunked, gzip\r\n'],
  ['a coding on a line of its own', `Transfer-Encoding: gzip\r\n${CHUNKED}`],
  ['chunks twice', `${CHUNKED}${CHUNKED}`],
  ['identity', 'Transfer-Encoding: identity\r\n'],
  ['an unknown coding', 'Transfer-Encoding: xchunked\r\n'],
  ['chunks in quotes', 'Transfer-Encoding: "chunked"\r\n'],
  ['chunks with a parameter', 'Transfer-Encoding: chunked;q=1\r\n'],
  ['an empty coding', 'Transfer-Encoding: \r\n'],
  ['a vertical tab before chunks', 'Transfer-Encoding: \x0bchunked\r\n'],
  ['a coding in HTTP/1.0', CHUNKED, '', '1.0'],
  ['a blank before the colon', 'Content-Length : 5\r\n'],
  ['a folded coding', 'Transfer-Encoding:\r\n chunked\r\n'],
  ['a folded length', 'Content-Length: 5\r\n 0\r\n'],
  ['a bare LF between fields', 'A: b\nContent-Length: 5\r\n'],
  ['a bare CR between fields', 'A: b\rContent-Length: 5\r\n'],
  ['a bare LF instead of the empty line', 'A: b\r\n\nGET / HTTP/1.1\r\n'],
  ['NUL in the name', 'Content-Length\0: 5\r\n'],
  ['NUL in a value', 'A: b\0\r\n'],
  ['a chunk size with a sign', CHUNKED, '+5\r\nhello\r\n0\r\n\r\n'],
  ['a chunk size in C', CHUNKED, '0x5\r\nhello\r\n0\r\n\r\n'],
  ['a chunk size beyond all numbers', CHUNKED, '10000000000000005\r\nhello\r\n0\r\n\r\n'],
  ['a blank before the chunk size', CHUNKED, ' 5\r\nhello\r\n0\r\n\r\n'],
  ['no chunk size', CHUNKED, '\r\nhello\r\n0\r\n\r\n'],
  ['a bare LF behind the chunk size', CHUNKED, '5\nhello\r\n0\r\n\r\n'],
  ['a bare LF behind a chunk', CHUNKED, '5\r\nhello\n0\r\n\r\n'],
  ['a chunk that is longer than its size', CHUNKED, '3\r\nhello\r\n0\r\n\r\n'],
  ['a bare LF in a chunk extension', CHUNKED, '5;a\nb\r\nhello\r\n0\r\n\r\n'],
  ['a bare CR in a chunk extension', CHUNKED, '5;a\rb\r\nhello\r\n0\r\n\r\n'],
  ['a length among the trailers', CHUNKED, '0\r\nContent-Length: 5\r\n\r\n'],
  ['a bare LF among the trailers', CHUNKED, '0\r\nA: b\nC: d\r\n\r\n'],
];

t.test('a request that can be framed in two ways is refused, and nothing behind it is read', async (t) => {
  const peer = await listenOn(t);
  const reached: string[] = [];
  // It never answers: what it gets must not be a whole request.
  peer.server.on('connection', (socket) => {
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
    });
    socket.once('close', () => reached.push(text));
    socket.resume().on('end', () => socket.end());
  });
  const proxy = await startProxy(t, LOOPBACK);
  const behind = requestFor(urlOf(peer, '/smuggled'));
  for (const [what, fields, body = 'hello', version = '1.1'] of AMBIGUOUS) {
    for (const method of ['POST', 'GET']) {
      const request = requestFor(urlOf(peer, '/first'), { method, version, fields, body });
      await t.test(`${what}, ${method}`, (t) =>
        checkRefusal(t, proxy, request + behind, { status: 400, reason: 'http_request_error' }),
      );
    }
  }
  t.same(
    reached.filter((text) => text.includes('/smuggled')),
    [],
  );
  t.same(
    reached.filter((text) => /Content-Length|\r\n0\r\n\r\n$/.test(text)),
    [],
    'nor does an origin get a whole request of another framing',
  );
});
