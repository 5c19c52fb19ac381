import t from 'tap';
import { playParent } from './fixtures/parents.js';
import { AUTHORIZATION, startProxy } from './fixtures/proxy.js';
import { connectHead, connectRaw, exchange, listenOn, readHead } from './fixtures/sockets.js';

const TARGET = 'dvm.apps.target.example:443';
const LOGIN = 'migration:let-me-through@';

t.test('two proxies that are parents of each other find the circle at once', async (t) => {
  // Its port is needed before it is there.
  const { port, server } = await listenOn(t);
  await new Promise((resolve) => server.close(resolve));
  const second = await startProxy(t, ['--parent', `http://${LOGIN}127.0.0.1:${port}`]);
  const first = await startProxy(t, [
    ...['--listen', `127.0.0.1:${port}`, '--parent', `http://${LOGIN}127.0.0.1:${second.port}`],
  ]);
  const { status, phrase, headers } = await exchange(t, first, connectHead(TARGET));
  t.equal(status, 502);
  t.match(phrase, `proxy_loop_detected: http://127.0.0.1:${second.port} answered 502 proxy_loop_detected:`);
  t.match(headers['proxy-status'], 'error=proxy_loop_detected');
  // The second request of the first proxy is the one that came round.
  t.equal(await first.metric('spliceway_requests_total{code="502",reason="proxy_loop_detected"}'), 2);
  t.equal(await second.metric('spliceway_requests_total{code="502",reason="proxy_loop_detected"}'), 1);
});

t.test('a proxy that is its own parent is found before it is dialled', async (t) => {
  const { port, server } = await listenOn(t);
  await new Promise((resolve) => server.close(resolve));
  for (const host of ['127.0.0.1', 'localhost', '0.0.0.0']) {
    const proxy = await startProxy(t, [
      ...['--listen', `0.0.0.0:${port}`, '--parent', `http://${LOGIN}${host}:${port}`],
    ]);
    const { phrase } = await exchange(t, { ...proxy, host: '127.0.0.1' }, connectHead(TARGET));
    t.match(phrase, new RegExp(`^proxy_loop_detected: http://${host}:${port}`));
    t.equal(await proxy.metric('spliceway_connections_total'), 1);
    t.equal(await proxy.stop(), 0);
  }
});

t.test('a parent is told of every proxy on the way', async (t) => {
  const parent = await playParent(t);
  const proxy = await startProxy(t, ['--parent', parent.url]);
  const head = (via: string) => `CONNECT ${TARGET} HTTP/1.1\r\nHost: ${TARGET}\r\n${AUTHORIZATION}${via}\r\n`;
  const client = await connectRaw(t, proxy);
  client.write(head('Via: 1.0 old, 1.1 squid (5.7)\r\nvia: 1.1 spliceway-00000000\r\n'));
  const { socket, head: asked } = await parent.asked();
  const [, via = ''] = /^Via: (.*)$/m.exec(asked) ?? [];
  t.match(via.trim(), /^1\.0 old, 1\.1 squid \(5\.7\), 1\.1 spliceway-00000000, 1\.1 spliceway-[0-9a-f]{8}$/);
  socket.end('HTTP/1.1 403 No\r\n\r\n');
  t.equal((await readHead(client)).status, 502);
  // What it called itself is what it knows again.
  const { phrase } = await exchange(t, proxy, head(`Via: ${via.trim()}, 1.1 other\r\n`));
  t.match(phrase, /^proxy_loop_detected: the request has been here before/);
});
