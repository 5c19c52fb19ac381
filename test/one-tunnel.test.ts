import t from 'tap';
import { startProxy } from './fixtures/proxy.js';
import { listenOn, openTunnel, readBytes, readToEnd } from './fixtures/sockets.js';

t.test('a tunnel carries bytes both ways, ends with both halves, and is accounted once', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, ['--allow', `127.0.0.0/8:${peer.port}`]);
  const { client, upstream, head } = await openTunnel(t, proxy, peer);
  t.equal(head.phrase, 'Connection established');
  client.write('ping');
  t.equal((await readBytes(upstream, 4)).toString(), 'ping');
  upstream.end('pong!');
  t.same(await readToEnd(client), { bytes: Buffer.from('pong!'), end: 'fin' });
  client.end();
  t.same(await readToEnd(upstream), { bytes: Buffer.alloc(0), end: 'fin' });

  const close = await proxy.until(({ event }) => event === 'close');
  t.match(close, {
    bytesUp: 4,
    bytesDown: 5,
    endedBy: 'upstream',
    cause: 'upstream_fin',
    user: 'migration',
    tunnel: head.headers['spliceway-tunnel-id'],
  });
  t.equal(
    proxy.log.filter(({ tunnel }) => tunnel === close.tunnel).length,
    2,
    'a record of the decision and one of the close',
  );
  t.equal(await proxy.metric('spliceway_tunnels_active{engine="splice"}'), 0);
  t.equal(await proxy.metric('spliceway_tunnel_bytes_total{direction="up",engine="splice"}'), 4);
  t.equal(await proxy.stop(), 0);
});
