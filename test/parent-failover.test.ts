import t from 'tap';
import { playParent } from './fixtures/parents.js';
import { startProxy } from './fixtures/proxy.js';
import { connectHead, connectRaw, exchange, listenOn, openTunnel, readHead } from './fixtures/sockets.js';

const TARGET = 'dvm.apps.target.example:443';

t.test(
  'parents are tried in order, past one that is a black hole, one that is closed and one that refuses',
  async (t) => {
    const peer = await listenOn(t);
    const closed = await listenOn(t);
    closed.server.close();
    const refusing = await startProxy(t, ['--allow', 'nothing.example']);
    const last = await startProxy(t, ['--allow', `127.0.0.0/8:${peer.port}`]);
    const login = 'migration:let-me-through@';
    const ways = [
      'http://127.66.0.1:3128',
      `http://127.0.0.1:${closed.port}`,
      'http://absent.test:3128',
      `http://${login}127.0.0.1:${refusing.port}`,
      `http://migration:wrong@127.0.0.1:${last.port}`,
      `http://${login}127.0.0.1:${last.port}`,
    ];
    const proxy = await startProxy(t, [
      ...['--allow', `127.0.0.0/8:${peer.port}`, '--connect-timeout', '1s', '--dns-timeout', '2s'],
      ...['--parent', ways.join(',')],
    ]);
    const { client, upstream } = await openTunnel(t, proxy, peer);
    client.destroy();
    upstream.destroy();
    const close = await proxy.until(({ event }) => event === 'close');
    t.match(close, { engine: 'splice', parent: `http://127.0.0.1:${last.port}` });
    t.same(close.parentsFailed, [
      'http://127.66.0.1:3128 parent_timeout',
      `http://127.0.0.1:${closed.port} parent_unreachable`,
      'http://absent.test:3128 parent_unreachable',
      `http://127.0.0.1:${refusing.port} parent_refused`,
      `http://127.0.0.1:${last.port} parent_credentials_rejected`,
    ]);
  },
);

t.test('a parent that could not be reached is tried last for a while', async (t) => {
  const peer = await listenOn(t);
  const last = await startProxy(t, ['--allow', `127.0.0.0/8:${peer.port}`]);
  const reachable = `http://127.0.0.1:${last.port}`;
  const proxy = await startProxy(t, [
    ...['--allow', `127.0.0.0/8:${peer.port}`, '--connect-timeout', '1s'],
    ...['--parent', `http://127.66.0.1:3128,http://migration:let-me-through@127.0.0.1:${last.port}`],
  ]);
  for (const parentsFailed of [['http://127.66.0.1:3128 parent_timeout'], undefined]) {
    const { client, upstream, head } = await openTunnel(t, proxy, peer);
    client.destroy();
    upstream.destroy();
    const id = head.headers['spliceway-tunnel-id'];
    const close = await proxy.until(({ event, tunnel }) => event === 'close' && tunnel === id);
    t.equal(close.parent, reachable);
    t.same(close.parentsFailed, parentsFailed);
  }
});

t.test('where all fail, each is named, and the most telling is the reason', async (t) => {
  const parent = await playParent(t);
  const proxy = await startProxy(t, [
    ...['--connect-timeout', '1s'],
    ...['--parent', `http://127.66.0.1:3128,${parent.url},http://127.67.0.1:3128,direct`],
  ]);
  const client = await connectRaw(t, proxy);
  client.write(connectHead(TARGET));
  (await parent.asked()).socket.end('HTTP/1.1 403 Not here\r\n\r\n');
  const { status, phrase } = await readHead(client);
  t.equal(status, 502);
  t.match(
    phrase,
    `parent_refused: http://127.66.0.1:3128: 127.66.0.1:3128 ETIMEDOUT; then ${parent.url} answered 403 Not here; then http://127.67.0.1:3128`,
  );
  t.match(phrase, 'dvm.apps.target.example does not resolve');
});

t.test('the deadline of the dial covers parents that take the connection and are silent', async (t) => {
  const parents = [await playParent(t), await playParent(t)] as const;
  const proxy = await startProxy(t, [
    ...['--parent-timeout', '1s', '--dial-timeout', '1500ms'],
    ...['--parent', parents.map(({ url }) => url).join(',')],
  ]);
  const { status, phrase } = await exchange(t, proxy, connectHead(TARGET));
  t.equal(status, 504);
  t.match(phrase, `parent_timeout: ${parents[0].url} took the connection and did not answer within 1 s`);
  t.match(phrase, `then ${parents[1].url}: ${TARGET} was not reached within 1.5 s`);
});

t.test('--dial-retry tries all of them again, but not what was refused for good', async (t) => {
  const parent = await playParent(t);
  const proxy = await startProxy(t, ['--parent', parent.url, '--dial-retry', '20s']);
  const client = await connectRaw(t, proxy);
  client.write(connectHead(TARGET));
  for (const answer of ['503 Starting', '502 Starting', '200 OK'])
    (await parent.asked()).socket.write(`HTTP/1.1 ${answer}\r\n\r\n`);
  t.equal((await readHead(client)).status, 200);
  t.equal(
    await proxy.metric(`spliceway_parent_dials_total{parent="${parent.url}",result="parent_refused"}`),
    2,
  );
  for (const [answer, reason] of [
    ['403 Not here', 'parent_refused'],
    ['407 Who', 'parent_credentials_rejected'],
  ] as const) {
    const another = await connectRaw(t, proxy);
    another.write(connectHead(TARGET));
    (await parent.asked()).socket.write(`HTTP/1.1 ${answer}\r\n\r\n`);
    t.match((await readHead(another)).phrase, new RegExp(`^${reason}`));
  }
});
