import { connect } from 'node:net';
import t from 'tap';
import { receiveAll } from './fixtures/endings.js';
import { LOOPBACK, reach, readAnswer, requestFor, urlOf } from './fixtures/forwarding.js';
import { eventually } from './fixtures/process-state.js';
import { AUTHORIZATION, startProxy } from './fixtures/proxy.js';
import { byLabel } from './fixtures/series.js';
import { connectHead, connectRaw, listenOn, readBytes, readHead, readToEnd } from './fixtures/sockets.js';

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const NOTHING = { bytes: Buffer.alloc(0), end: 'fin' };
const proxy = await startProxy(t, LOOPBACK);

t.test('requests of one connection go to their own origins, each with its own credentials', async (t) => {
  const peers = [await listenOn(t), await listenOn(t, '::1')];
  const client = await connectRaw(t, proxy);
  for (const peer of [...peers, ...peers]) {
    const { origin } = await reach(t, proxy, peer, requestFor(urlOf(peer)), client);
    origin.end(OK);
    const answer = await readAnswer(client);
    t.match(answer, { status: 200, body: 'ok', headers: { connection: 'keep-alive' } });
    t.same(await readToEnd(origin), NOTHING, 'a connection to an origin carries one request');
  }
  client.write(requestFor('http://127.0.0.1:9/').replace(AUTHORIZATION, ''));
  t.match(await readAnswer(client), { status: 407, headers: { connection: 'close' } });
  t.same(await readToEnd(client), NOTHING, 'a refusal is the last answer');
});

t.test('a CONNECT behind a request becomes a tunnel', async (t) => {
  const peer = await listenOn(t);
  const authority = `127.0.0.1:${peer.port}`;
  for (const how of ['when it is answered', 'in one segment with it', 'while it is answered'] as const) {
    const client = await connectRaw(t, proxy);
    const piped = how === 'in one segment with it' ? `${connectHead(authority)}early` : '';
    const { origin } = await reach(t, proxy, peer, requestFor(urlOf(peer)) + piped, client);
    // So large that it needs the backpressure of a connection whose parser is gone.
    const body = 'spliceway '.repeat(1_000_000);
    origin.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`);
    if (how === 'while it is answered') client.write(`${connectHead(authority)}early`);
    origin.end(body);
    t.ok((await readAnswer(client)).body === body, how);
    if (how === 'when it is answered') client.write(`${connectHead(authority)}early`);
    const head = await readHead(client);
    t.equal(head.phrase, 'Connection established');
    const upstream = await peer.next();
    t.equal((await readBytes(upstream, 5)).toString(), 'early');
    upstream.end('late');
    client.end();
    t.equal((await readToEnd(client)).bytes.toString(), 'late');
    t.same(await readToEnd(upstream), NOTHING);
  }
});

t.test('requests that come at once are served one by one, in order', async (t) => {
  const peer = await listenOn(t);
  const client = await connectRaw(t, proxy);
  const count = 40;
  const paths = Array.from({ length: count }, (_, i) => `/${i}`);
  const large = 'x'.repeat(200_000);
  let open = 0;
  let most = 0;
  const seen: string[] = [];
  peer.server.on('connection', (socket) => {
    open += 1;
    most = Math.max(most, open);
    void readHead(socket).then(({ text }) => {
      const path = text.split(' ')[1] ?? '';
      seen.push(path);
      open -= 1;
      socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${large.length + path.length}\r\n\r\n${large}${path}`);
    });
  });
  client.write(
    paths
      .map((path, i) =>
        i % 3 === 0
          ? requestFor(urlOf(peer, path), { method: 'POST', fields: 'Content-Length: 3\r\n', body: 'abc' })
          : requestFor(urlOf(peer, path), {
              fields: i % 3 === 1 ? 'Connection: Upgrade\r\nUpgrade: h2c\r\n' : '',
            }),
      )
      .join(''),
  );
  for (const path of paths) {
    const { status, body } = await readAnswer(client);
    t.equal(status, 200, path);
    t.ok(body === large + path, 'its own answer, whole');
  }
  t.same(seen, paths);
  t.equal(most, 1, 'never two at a time');
});

t.test('nothing behind a refused request is served', async (t) => {
  const peer = await listenOn(t);
  peer.server.on('connection', () => t.fail('it was'));
  const refused = requestFor('http://127.0.0.1:9/');
  for (const behind of [requestFor(urlOf(peer)), connectHead(`127.0.0.1:${peer.port}`), 'garbage\r\n\r\n']) {
    const client = await connectRaw(t, proxy);
    client.write(refused + behind + behind);
    const { status, rest, headers } = await readHead(client);
    t.equal(status, 502);
    const { bytes, end } = await readToEnd(client);
    t.equal(rest.length + bytes.length, Number(headers['content-length']), 'one answer');
    t.equal(end, 'fin');
  }
});

t.test('garbage behind a request is refused, after its answer', async (t) => {
  const peer = await listenOn(t);
  for (const piped of [true, false]) {
    const client = await connectRaw(t, proxy);
    const garbage = 'what is this?\r\n\r\n';
    const { origin } = await reach(t, proxy, peer, requestFor(urlOf(peer)) + (piped ? garbage : ''), client);
    origin.end(OK);
    t.equal((await readAnswer(client)).body, 'ok');
    if (!piped) client.write(garbage);
    t.match(await readAnswer(client), { status: 400, phrase: /^(?:http_request_error|not_http): / });
    t.same(await readToEnd(client), NOTHING);
  }
});

t.test(
  'an idle connection is closed without a word after --handshake-timeout, half a request is not',
  async (t) => {
    const peer = await listenOn(t);
    const hasty = await startProxy(t, [...LOOPBACK, '--handshake-timeout', '500ms']);
    const dropped = () => byLabel(hasty, 'spliceway_connections_dropped_total', 'why');
    const idle = await connectRaw(t, hasty);
    const half = await connectRaw(t, hasty);
    for (const client of [idle, half]) {
      const { origin } = await reach(t, hasty, peer, requestFor(urlOf(peer)), client);
      origin.end(OK);
      await readAnswer(client);
    }
    half.write('GET http://127.0.0.1/ HT');
    const startedMs = performance.now();
    t.same(await readToEnd(idle), NOTHING, 'silently');
    t.ok(performance.now() - startedMs > 400, 'not before its time');
    t.match(await readAnswer(half), { status: 408, phrase: /^request_timeout: / });
    // Its content and its answer may take longer than that.
    const slow = await connectRaw(t, hasty);
    const { origin } = await reach(
      t,
      hasty,
      peer,
      requestFor(urlOf(peer), { method: 'POST', fields: 'Content-Length: 2\r\n', body: 'a' }),
      slow,
    );
    // Another connection tells when the deadline is over for certain.
    t.same(await readToEnd(await connectRaw(t, hasty)), NOTHING);
    slow.write('b');
    origin.end(OK);
    t.equal((await readAnswer(slow)).body, 'ok');
    t.same(await dropped(), { silent: 1, incomplete: 0, limit: 0 });
  },
);

t.test('a drain closes idle connections, and answers what is under way with Connection: close', async (t) => {
  const peer = await listenOn(t);
  const draining = await startProxy(t, LOOPBACK);
  const idle = await connectRaw(t, draining);
  const first = await reach(t, draining, peer, requestFor(urlOf(peer)), idle);
  first.origin.end(OK);
  await readAnswer(idle);
  const busy = await reach(t, draining, peer, requestFor(urlOf(peer)));
  const answered = await reach(t, draining, peer, requestFor(urlOf(peer)));
  answered.origin.write(OK.slice(0, -1));
  const head = await readHead(answered.client);
  answered.client.write(requestFor(urlOf(peer)));
  const exited = draining.stop();
  t.same(await readToEnd(idle), NOTHING, 'the idle one');
  await eventually(
    () => canConnect(draining),
    (can) => !can,
  );
  busy.origin.end(OK);
  t.match(await readAnswer(busy.client), { status: 200, body: 'ok', headers: { connection: 'close' } });
  t.same(await readToEnd(busy.client), NOTHING);
  answered.origin.end('k');
  await readBytes(answered.client, 2 - head.rest.length);
  t.match(await readAnswer(answered.client), { status: 503, phrase: /^draining: / }, 'what came behind it');
  t.equal(await exited, 0, 'nothing was cut');
});

t.test('a drain that is over resets what is in mid-answer', async (t) => {
  const peer = await listenOn(t);
  const draining = await startProxy(t, [...LOOPBACK, '--drain-timeout', '0s']);
  const { client, origin } = await reach(t, draining, peer, requestFor(urlOf(peer)));
  origin.write('HTTP/1.1 200 OK\r\n\r\nhello');
  await readHead(client);
  t.equal(await draining.stop(), 1);
  t.equal((await receiveAll(client)).end, 'reset');
  t.match(
    draining.log.find(({ event }) => event === 'close'),
    { cause: 'aborted', endedBy: 'proxy' },
  );
});

async function canConnect({ host, port }: { host: string; port: number }): Promise<boolean> {
  const socket = connect({ host, port });
  const can = await new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
  });
  socket.destroy();
  return can;
}
