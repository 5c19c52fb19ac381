import t from 'tap';
import { LOOPBACK, linesNamed, reach, readAnswer, requestFor, urlOf } from './fixtures/forwarding.js';
import { startProxy } from './fixtures/proxy.js';
import { connectRaw, listenOn } from './fixtures/sockets.js';

const FLAGS = [...LOOPBACK, '--allow', '*.test:*', '--no-via'];

t.test('the origin gets the method and the path as they were written', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, FLAGS);
  const paths: readonly (readonly [method: string, url: string, line: string])[] = [
    ['GET', urlOf(peer, '/'), 'GET / HTTP/1.1'],
    ['GET', urlOf(peer, ''), 'GET / HTTP/1.1'],
    ['GET', urlOf(peer, '?a=b'), 'GET /?a=b HTTP/1.1'],
    ['GET', urlOf(peer, '/?'), 'GET /? HTTP/1.1'],
    ['GET', urlOf(peer, '//double//slash/'), 'GET //double//slash/ HTTP/1.1'],
    ['GET', urlOf(peer, '/a/./b/../c'), 'GET /a/./b/../c HTTP/1.1'],
    ['GET', urlOf(peer, '/%2F%2f%41%zz'), 'GET /%2F%2f%41%zz HTTP/1.1'],
    ['GET', urlOf(peer, '/a:b@c?d=/e?f'), 'GET /a:b@c?d=/e?f HTTP/1.1'],
    ['GET', urlOf(peer, '/?to=http://other.test:1/'), 'GET /?to=http://other.test:1/ HTTP/1.1'],
    ['GET', urlOf(peer, '/"<>^`{|}\\'), 'GET /"<>^`{|}\\ HTTP/1.1'],
    ['GET', urlOf(peer, '/').replace('http', 'HTTP'), 'GET / HTTP/1.1'],
    ['GET', urlOf(peer, `/${'x'.repeat(8000)}`), `GET /${'x'.repeat(8000)} HTTP/1.1`],
    ['OPTIONS', urlOf(peer, ''), 'OPTIONS * HTTP/1.1'],
    ['OPTIONS', urlOf(peer, '/'), 'OPTIONS / HTTP/1.1'],
    ['OPTIONS', urlOf(peer, '?q'), 'OPTIONS /?q HTTP/1.1'],
    ['DELETE', urlOf(peer, '/x'), 'DELETE /x HTTP/1.1'],
    ['PROPFIND', urlOf(peer, '/x'), 'PROPFIND /x HTTP/1.1'],
    ['TRACE', urlOf(peer, '/x'), 'TRACE /x HTTP/1.1'],
  ];
  for (const [method, url, line] of paths) {
    const { lines, origin } = await reach(t, proxy, peer, requestFor(url, { method }));
    t.equal(lines[0], line, `${method} ${url.slice(0, 60)}`);
    origin.destroy();
  }
});

t.test('Host is that of the URL, whatever the client wrote', async (t) => {
  const proxy = await startProxy(t, FLAGS);
  for (const host of ['127.0.0.1', '::1']) {
    const peer = await listenOn(t, host);
    const name = host === '::1' ? 'v6.test' : 'v4.test';
    for (const [url, expected] of [
      [urlOf(peer), new URL(urlOf(peer)).host],
      [`http://${name}:${peer.port}/`, `${name}:${peer.port}`],
      [`http://${name.toUpperCase()}.:${peer.port}/`, `${name}:${peer.port}`],
    ] as const) {
      const { head, origin } = await reach(t, proxy, peer, requestFor(url));
      t.same(linesNamed(head, 'host'), [`Host: ${expected}`], url);
      origin.destroy();
    }
    const { head, origin } = await reach(
      t,
      proxy,
      peer,
      requestFor(urlOf(peer), { version: '1.0' }).replace('Host: ignored.test\r\n', ''),
    );
    t.same(linesNamed(head, 'host'), [`Host: ${new URL(urlOf(peer)).host}`], 'HTTP/1.0 without Host');
    origin.destroy();
  }
});

t.test('the default port is 80, and not written', async (t) => {
  const peer = await listenOn(t, '127.0.0.1', 80);
  const proxy = await startProxy(t, FLAGS);
  for (const url of ['http://127.0.0.1/', 'http://127.0.0.1:/', 'http://127.0.0.1:80/', 'http://v4.test']) {
    const { head, origin } = await reach(t, proxy, peer, requestFor(url));
    t.same(linesNamed(head, 'host'), [`Host: ${url.split('/')[2]?.replace(/:.*/, '')}`], url);
    origin.destroy();
  }
});

t.test('fields keep order, spelling, duplicates and bytes, there and back', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, FLAGS);
  const asked = [
    'X-oDD-cAsE: 1',
    'Cookie: a=1',
    'Accept: b',
    'Cookie: c=2',
    'X-Empty: ',
    'X-Latin: \xfc\x80\xff',
    'X-Utf8: Stra\xc3\x9fe',
    'Authorization: Basic b3JpZ2luOm9ubHk=',
    'X-Tabs: a\tb',
  ];
  const answered = [
    'Set-Cookie: a=1; Path=/',
    'x-odd-CASE: 1',
    'Set-Cookie: b=2',
    'Content-Disposition: attachment; filename="\xfc\xe9.txt"',
    'Date: Thu, 01 Jan 1970 00:00:00 GMT',
    'Server: x',
    'set-cookie: c=3',
    'X-Empty: ',
  ];
  const ways: readonly (readonly [what: string, method: string, more: string, body: string])[] = [
    ['without content', 'GET', '', ''],
    ['with content', 'POST', 'Content-Length: 3\r\n', 'abc'],
    ['with an expectation', 'PUT', 'Content-Length: 3\r\nExpect: 100-continue\r\n', 'abc'],
    ['in chunks', 'POST', 'Transfer-Encoding: chunked\r\n', '3\r\nabc\r\n0\r\n\r\n'],
  ];
  for (const [what, method, more, body] of ways) {
    const client = await connectRaw(t, proxy);
    const fields = `${asked.join('\r\n')}\r\n${more}`;
    const { lines, origin } = await reach(
      t,
      proxy,
      peer,
      requestFor(urlOf(peer), { method, fields, body }),
      client,
    );
    const own = /^(?:host|connection|content-length|transfer-encoding|expect):/i;
    t.same(
      lines.slice(1).filter((line) => !own.test(line)),
      asked.map((line) => line.trimEnd()).map((line) => (line === 'X-Empty:' ? 'X-Empty: ' : line)),
      `there, ${what}`,
    );
    const answer = `HTTP/1.1 200 Gr\xfc\xdfe\r\n${answered.join('\r\n')}\r\nContent-Length: 2\r\n\r\nok`;
    origin.end(Buffer.from(answer, 'latin1'));
    const { text, body: received } = await readAnswer(client);
    const [status, ...got] = text.split('\r\n');
    t.equal(status, 'HTTP/1.1 200 Gr\xfc\xdfe', 'the phrase as well');
    t.same(
      got.filter((line) => !/^(?:connection|keep-alive|content-length):/i.test(line)),
      answered,
      `back, ${what}`,
    );
    t.equal(received, 'ok');
  }
});

t.test('an answer may have very many fields', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, FLAGS);
  const { client, origin } = await reach(t, proxy, peer, requestFor(urlOf(peer)));
  const cookies = Array.from({ length: 4000 }, (_, i) => `Set-Cookie: ${i}`);
  origin.end(`HTTP/1.1 200 OK\r\n${cookies.join('\r\n')}\r\nContent-Length: 0\r\n\r\n`);
  t.same(linesNamed(await readAnswer(client), 'set-cookie'), cookies);
});

t.test('every status passes, with its phrase or without', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, FLAGS);
  const client = await connectRaw(t, proxy);
  for (const line of [
    '200 OK',
    '200 ',
    '206 Partial Content',
    '301 Moved',
    '404 Nope',
    '418 ',
    '503 Busy',
    '599 x',
    '777 y',
  ]) {
    const { origin } = await reach(t, proxy, peer, requestFor(urlOf(peer)), client);
    origin.end(`HTTP/1.1 ${line}\r\nContent-Length: 1\r\n\r\nx`);
    const { text, body } = await readAnswer(client);
    t.equal(text.split('\r\n')[0], `HTTP/1.1 ${line}`);
    t.equal(body, 'x');
  }
});
