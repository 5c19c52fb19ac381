import t from 'tap';
import { playParent } from './fixtures/parents.js';
import { startProxy } from './fixtures/proxy.js';
import { connectHead, connectRaw, exchange, listenOn, openTunnel, readHead } from './fixtures/sockets.js';

t.test('the first --parent whose rule fits a target counts, whatever the others say', async (t) => {
  const peer = await listenOn(t);
  const inside = await playParent(t);
  const outside = await playParent(t, '::1');
  const proxy = await startProxy(t, [
    ...['--allow', '*:*', '--allow', `127.0.0.0/8:${peer.port}`],
    ...['--parent', '*.direct.example:443,8443=direct'],
    ...['--parent', `127.0.0.0/8:${peer.port}=direct`],
    ...['--parent', `*.corp.example:*=${inside.url}`],
    ...['--parent', `10.0.0.0/8=${inside.url}`],
    ...['--parent', `[2001:db8::]/32:443=${inside.url}`],
    ...['--parent', outside.url],
    ...['--parent', 'env'],
  ]);
  const through = {
    'a.corp.example:22': inside,
    'a.b.corp.example:443': inside,
    'corp.example:443': outside,
    '10.1.2.3:443': inside,
    '10.1.2.3:444': outside,
    '[2606:4700::1]:443': outside,
    'a.direct.example:444': outside,
    'private.test:443': outside, // which is 10.77.0.1, but nobody has looked
  };
  for (const [target, parent] of Object.entries(through)) {
    const client = await connectRaw(t, proxy);
    client.write(connectHead(target));
    const { socket, head } = await parent.asked();
    t.match(head, `CONNECT ${target} HTTP/1.1\r\n`);
    socket.end('HTTP/1.1 403 seen\r\n\r\n');
    t.match((await readHead(client)).phrase, `parent_refused: ${parent.url} answered 403 seen`);
  }
  t.match((await exchange(t, proxy, connectHead('a.direct.example:8443'))).phrase, /^dns_error/);
  await openTunnel(t, proxy, peer);
});

t.test('without a --parent that fits, a target is reached directly', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, [
    ...['--allow', `127.0.0.0/8:${peer.port}`, '--parent', '*.corp.example=http://127.0.0.1:1'],
  ]);
  await openTunnel(t, proxy, peer);
});
