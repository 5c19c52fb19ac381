import t from 'tap';
import { playParent } from './fixtures/parents.js';
import { startProxy } from './fixtures/proxy.js';
import { connectHead, connectRaw, exchange, listenOn, openTunnel, readHead } from './fixtures/sockets.js';

t.test('env goes through what HTTPS_PROXY names, but for what NO_PROXY names', async (t) => {
  const peer = await listenOn(t);
  const parent = await playParent(t);
  const proxy = await startProxy(
    t,
    ['--allow', '*:443', '--allow', `127.0.0.0/8:${peer.port}`, '--parent', 'env'],
    {
      env: {
        HTTPS_PROXY: `${parent.url.replace('//', '//parent:s%40fe@')}/`,
        HTTP_PROXY: 'http://127.0.0.1:1',
        NO_PROXY: '.direct.example,127.0.0.1',
      },
    },
  );
  const client = await connectRaw(t, proxy);
  client.write(connectHead('a.example:443'));
  const { socket, head } = await parent.asked();
  t.match(head, `Proxy-Authorization: Basic ${Buffer.from('parent:s@fe').toString('base64')}`);
  socket.end('HTTP/1.1 403 told\r\n\r\n');
  t.match((await readHead(client)).phrase, `parent_refused: ${parent.url} answered 403 told`);
  // Neither has a way through the parent, which would wait to be asked.
  t.match((await exchange(t, proxy, connectHead('a.direct.example:443'))).phrase, /^dns_error/);
  await openTunnel(t, proxy, peer);
  t.notMatch(JSON.stringify(proxy.log), 's@fe');
});

t.test('env without variables is direct', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, ['--allow', `127.0.0.0/8:${peer.port}`, '--parent', 'env']);
  await openTunnel(t, proxy, peer);
});

t.test('what the environment names and is no proxy is said so, without its text', async (t) => {
  for (const value of ['ftp://user:needle@p:1', 'http://user:needle@p:1/path', 'user:needle@p:x']) {
    const proxy = await startProxy(t, ['--parent', 'env'], { env: { https_proxy: value } });
    const { status, phrase } = await exchange(t, proxy, connectHead('a.example:443'));
    t.equal(status, 502);
    t.match(phrase, /^parent_unknown: the proxy that the environment names for https:\/\/a\.example\/ /);
    t.notMatch(phrase + JSON.stringify(proxy.log), 'needle');
  }
});
