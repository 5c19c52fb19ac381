import t from 'tap';
import { LOOPBACK, linesNamed, reach, readAnswer, requestFor, urlOf } from './fixtures/forwarding.js';
import { startProxy } from './fixtures/proxy.js';
import { checkRefusal } from './fixtures/refusals.js';
import { connectRaw, listenOn } from './fixtures/sockets.js';

const FLAGS = [...LOOPBACK, '--no-via'];

t.test('fields for one hop stay behind on the way to the origin, and the others do not', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, FLAGS);
  const rows: readonly (readonly [fields: readonly string[], kept: readonly string[]])[] = [
    [['Connection: keep-alive', 'Keep-Alive: timeout=5', 'Proxy-Connection: keep-alive'], []],
    [['Connection: X-Mine, x-yours', 'x-mine: 1', 'X-Yours: 2', 'X-Theirs: 3'], ['X-Theirs: 3']],
    [['X-Mine: 1', 'Connection: close', 'Connection: ,, x-mine ,'], []],
    [['TE: gzip, deflate;q=0.5', 'Accept: a'], ['Accept: a']],
    [['Connection: TE', 'TE: trailers, gzip'], ['TE: trailers']],
    [['Upgrade: h2c', 'Connection: Upgrade, HTTP2-Settings', 'HTTP2-Settings: AAA'], []],
    [['Upgrade: websocket', 'Accept: a'], ['Accept: a']],
    [['Trailer: X-Sum', 'Accept: a'], ['Accept: a']],
    [['Proxy-Connection: x', 'Proxy-Foo: y', 'Proxy-Authenticate: z', 'proxy-status: a'], []],
    [['Connection: Authorization, Cookie', 'Authorization: a', 'Cookie: b', 'Accept: c'], ['Accept: c']],
    [['Connection: Host', 'Accept: a'], ['Accept: a']],
    [['Connection: Proxy-Authorization, Accept', 'Accept: a'], []],
  ];
  for (const [fields, kept] of rows) {
    const request = requestFor(urlOf(peer), { fields: `${fields.join('\r\n')}\r\n` });
    const { head, lines, origin } = await reach(t, proxy, peer, request);
    const others = lines.slice(1).filter((line) => !/^(?:host|connection):/i.test(line));
    t.same(others, kept, fields.join(' | '));
    t.same(linesNamed(head, 'host'), [`Host: 127.0.0.1:${peer.port}`]);
    t.same(linesNamed(head, 'connection'), [
      kept.includes('TE: trailers') ? 'Connection: close, TE' : 'Connection: close',
    ]);
    origin.destroy();
  }
});

t.test('the framing of a request is its own, also where Connection names its fields', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, FLAGS);
  const sized = requestFor(urlOf(peer), {
    method: 'POST',
    fields: 'Connection: Content-Length\r\nContent-Length: 3\r\n',
    body: 'abc',
  });
  const one = await reach(t, proxy, peer, sized);
  t.same(linesNamed(one.head, 'content-length'), ['Content-Length: 3']);
  t.same(linesNamed(one.head, 'transfer-encoding'), []);
  const chunked = requestFor(urlOf(peer), {
    method: 'POST',
    fields: 'Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n',
    body: '3\r\nabc\r\n0\r\n\r\n',
  });
  const two = await reach(t, proxy, peer, chunked);
  t.same(linesNamed(two.head, 'transfer-encoding'), ['Transfer-Encoding: chunked']);
  t.same(linesNamed(two.head, 'content-length'), []);
});

t.test('fields for one hop stay behind on the way to the client, and the others do not', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, FLAGS);
  const client = await connectRaw(t, proxy);
  const rows: readonly (readonly [fields: readonly string[], kept: readonly string[]])[] = [
    [['Connection: close', 'Keep-Alive: timeout=77', 'Server: a'], ['Server: a']],
    [['Connection: x-mine, Server', 'X-Mine: 1', 'Server: a', 'X-Theirs: 3'], ['X-Theirs: 3']],
    [['Proxy-Authenticate: Basic realm="phish"', 'Proxy-Authentication-Info: x', 'Server: a'], ['Server: a']],
    [['Proxy-Connection: keep-alive', 'Upgrade: h2c', 'TE: x', 'Trailer: y'], []],
    [['Connection: Content-Length', 'Server: a'], ['Server: a']],
    [['WWW-Authenticate: Basic realm="origin"'], ['WWW-Authenticate: Basic realm="origin"']],
  ];
  for (const [fields, kept] of rows) {
    const { origin } = await reach(t, proxy, peer, requestFor(urlOf(peer)), client);
    origin.end(`HTTP/1.1 200 OK\r\nDate: x\r\n${fields.join('\r\n')}\r\nContent-Length: 2\r\n\r\nok`);
    const { text, body } = await readAnswer(client);
    const own =
      /^(?:date: x|connection: keep-alive|keep-alive: timeout=30|content-length: 2|transfer-encoding: chunked)$/i;
    t.same(
      text
        .split('\r\n')
        .slice(1)
        .filter((line) => !own.test(line)),
      kept,
      fields.join(' | '),
    );
    t.equal(body, 'ok', 'on the same connection');
  }
});

t.test('an origin cannot ask the client for the credentials of the proxy', async (t) => {
  const peer = await listenOn(t);
  peer.server.on('connection', (socket) => {
    socket.end('HTTP/1.1 407 Give\r\nProxy-Authenticate: Basic realm="phish"\r\nContent-Length: 0\r\n\r\n');
    socket.resume();
  });
  const proxy = await startProxy(t, FLAGS);
  const refusal = await checkRefusal(t, proxy, requestFor(urlOf(peer)), {
    status: 502,
    reason: 'http_protocol_error',
    says: /407/,
  });
  t.notMatch(refusal.text, /phish/);
});

t.test('Max-Forwards is counted for TRACE and OPTIONS, and nobody else', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, FLAGS);
  const fields = 'Max-Forwards: 3\r\n';
  for (const [method, left] of [
    ['TRACE', 2],
    ['OPTIONS', 2],
    ['GET', 3],
  ] as const) {
    const { head, origin } = await reach(t, proxy, peer, requestFor(urlOf(peer), { method, fields }));
    t.same(linesNamed(head, 'max-forwards'), [`Max-Forwards: ${left}`], method);
    origin.destroy();
  }
  const last = requestFor(urlOf(peer), { method: 'OPTIONS', fields: 'Max-Forwards: 0\r\n' });
  await checkRefusal(t, proxy, last, { status: 405, reason: 'method_not_allowed' });
  const odd = requestFor(urlOf(peer), { method: 'TRACE', fields: 'Max-Forwards: -1\r\n' });
  await checkRefusal(t, proxy, odd, { status: 400, reason: 'http_request_error' });
});
