import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { playParent } from './fixtures/parents.js';
import { startProxy } from './fixtures/proxy.js';
import {
  connectHead,
  connectRaw,
  exchange,
  listenOn,
  openTunnel,
  readBytes,
  readHead,
} from './fixtures/sockets.js';

t.test('a PAC file says which parents to try, in order, and which targets are direct', async (t) => {
  const peer = await listenOn(t);
  const allow = ['--allow', `127.0.0.0/8:${peer.port}`, '--allow', '*:443'];
  const second = await startProxy(t, allow);
  const closed = await listenOn(t);
  closed.server.close();
  const played = await playParent(t);
  const directory = t.testdir({
    'proxy.pac': `
      function FindProxyForURL(url, host) {
        alert('needle ' + url);
        if (shExpMatch(host, '*.played.example') && url === 'https://' + host + '/')
          return 'PROXY 127.0.0.1:${played.port}';
        if (host === 'nothing.example') return '';
        if (host === 'nonsense.example') return 'FLY me; PROXY :; SOCKS';
        if (host === 'thrown.example') throw new Error('not today');
        if (host === '127.0.0.1')
          return 'PROXY 127.0.0.1:${closed.port}; FLY me; HTTP user:pass@127.0.0.1:1;PROXY migration:let-me-through@127.0.0.1:${second.port}; DIRECT';
        return 'DIRECT';
      }`,
  });
  const proxy = await startProxy(t, [...allow, '--parent', `pac+file://${directory}/proxy.pac`]);

  await t.test('the first that works', async (t) => {
    const { client, upstream } = await openTunnel(t, proxy, peer);
    client.end('ping');
    t.equal((await readBytes(upstream, 4)).toString(), 'ping');
    upstream.end();
    const name = `http://127.0.0.1:${second.port}`;
    t.match(await proxy.until(({ event }) => event === 'close'), {
      engine: 'splice',
      parent: name,
      parentsFailed: [
        `http://127.0.0.1:${closed.port} parent_unreachable`,
        'http://127.0.0.1:1 parent_unreachable',
      ],
    });
    t.equal(await proxy.metric(`spliceway_parent_dials_total{parent="${name}",result="opened"}`), 1);
  });

  await t.test('a port that stands for itself is left out of the URL', async (t) => {
    const client = await connectRaw(t, proxy);
    client.write(connectHead('a.played.example:443'));
    (await played.asked()).socket.end('HTTP/1.1 403 as told\r\n\r\n');
    t.match((await readHead(client)).phrase, '403 as told');
  });

  await t.test('nothing means direct; nonsense and errors mean that the parent is unknown', async (t) => {
    const expected = {
      nothing: /^dns_error/,
      nonsense: /^parent_unknown: pac\+file:\/\/\/.*\/proxy\.pac: what it says is neither DIRECT nor a proxy/,
      thrown: /^parent_unknown: pac\+file:.*: not today/,
    };
    for (const [host, phrase] of Object.entries(expected))
      t.match((await exchange(t, proxy, connectHead(`${host}.example:443`))).phrase, phrase);
  });

  t.notMatch(proxy.stdout(), 'needle', 'alert() does not write to standard output');
  t.notMatch(JSON.stringify(proxy.log), 'pass');
});

t.test('a PAC file in an endless loop holds up nobody else', async (t) => {
  const peer = await listenOn(t);
  const directory = t.testdir({
    'proxy.pac': "function FindProxyForURL(url, host) { while (host === 'loop.example'); return 'DIRECT'; }",
  });
  const proxy = await startProxy(t, [
    ...['--allow', `127.0.0.0/8:${peer.port}`, '--allow', '*:443', '--connect-timeout', '20s'],
    ...['--parent', `pac+file://${directory}/proxy.pac`],
  ]);
  // The thread is running by then.
  await openTunnel(t, proxy, peer);
  const looping = exchange(t, proxy, connectHead('loop.example:443'));
  // Asked for while the file loops: answered by the thread that replaces it.
  const meanwhile = openTunnel(t, proxy, peer);
  t.equal((await proxy.page('/live')).status, 200, 'the process goes on');
  const { status, phrase } = await looping;
  t.equal(status, 502);
  t.match(phrase, /^parent_unknown: .*: it runs without end/);
  t.equal((await meanwhile).head.status, 200);
  await openTunnel(t, proxy, peer);
  t.equal(await proxy.metric('spliceway_uncaught_errors_total'), 0);
});

t.test('a PAC file comes by HTTP as well, and is waited for no longer than anything else', async (t) => {
  const peer = await listenOn(t);
  let text = '';
  const server = createServer((_request, response) => {
    if (text !== '') response.end(text);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close().closeAllConnections());
  const { port } = server.address() as AddressInfo;
  const proxy = await startProxy(t, [
    ...['--allow', `127.0.0.0/8:${peer.port}`, '--connect-timeout', '2s'],
    ...['--parent', `pac+http://user:needle@127.0.0.1:${port}/proxy.pac?token=needle`],
  ]);
  const authority = `127.0.0.1:${peer.port}`;
  const silent = await exchange(t, proxy, connectHead(authority));
  t.match(
    silent.phrase,
    `parent_unknown: pac+http://127.0.0.1:${port}/proxy.pac: it did not answer within 2 s`,
  );
  text = "function FindProxyForURL() { return 'DIRECT'; }";
  await openTunnel(t, proxy, peer);
  t.notMatch(JSON.stringify(proxy.log) + silent.text + silent.rest, 'needle');
});

t.test('a PAC file that is not there, or is none, is said so', async (t) => {
  const directory = t.testdir({ 'wrong.pac': 'function FindProxyForURL( {' });
  writeFileSync(`${directory}/other.pac`, 'var x = 1;');
  for (const [file, words] of [
    ['absent.pac', /parent_unknown: .*absent\.pac/],
    ['wrong.pac', /parent_unknown: /],
    ['other.pac', /parent_unknown: /],
  ] as const) {
    const proxy = await startProxy(t, ['--parent', `pac+file://${directory}/${file}`]);
    const { status, phrase } = await exchange(t, proxy, connectHead('a.example:443'));
    t.equal(status, 502);
    t.match(phrase, words);
  }
});
