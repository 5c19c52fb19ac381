import t from 'tap';
import { startProxy } from './fixtures/proxy.js';
import { listenOn, openTunnel, readBytes, readToEnd } from './fixtures/sockets.js';

t.test('a tunnel through a parent carries bytes both ways, and runs on the native relay', async (t) => {
  const peer = await listenOn(t);
  const allow = ['--allow', `127.0.0.0/8:${peer.port}`];
  const parent = await startProxy(t, allow);
  const url = `http://migration:let-me-through@127.0.0.1:${parent.port}`;
  const proxy = await startProxy(t, [...allow, '--parent', url]);
  const { client, upstream } = await openTunnel(t, proxy, peer);
  client.write('ping');
  t.equal((await readBytes(upstream, 4)).toString(), 'ping');
  upstream.end('pong!');
  t.same(await readToEnd(client), { bytes: Buffer.from('pong!'), end: 'fin' });
  client.end();
  t.same(await readToEnd(upstream), { bytes: Buffer.alloc(0), end: 'fin' });
  const name = `http://127.0.0.1:${parent.port}`;
  const close = await proxy.until(({ event }) => event === 'close');
  t.match(close, { engine: 'splice', parent: name, bytesUp: 4, bytesDown: 5, cause: 'upstream_fin' });
  t.notOk('parentsFailed' in close);
  t.equal(await proxy.metric(`spliceway_parent_dials_total{parent="${name}",result="opened"}`), 1);
});
