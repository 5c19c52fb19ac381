import { randomBytes } from 'node:crypto';
import t from 'tap';
import { AUTHORIZATION, startProxy } from './fixtures/proxy.js';
import { startRealParents } from './fixtures/real-parents.js';
import { connectHead, exchange, listenOn, readBytes, readHead, readToEnd } from './fixtures/sockets.js';
import { ask, offerHead, switching } from './fixtures/upgrade.js';

t.test('proxies that people use', async (t) => {
  const parents = await startRealParents(t);
  // A parent for each port, so that one proxy does for all.
  const cases = await Promise.all(
    parents.map(async (parent, at) => ({
      ...parent,
      shown: parent.url.replace(/\/\/.*@/, '//'),
      peer: await listenOn(t),
      closedPort: 1 + at,
      wrongPort: 101 + at,
    })),
  );
  const [certificate] = parents.flatMap((parent) => parent.certificate ?? []);
  const proxy = await startProxy(
    t,
    [
      ...['--allow', '127.0.0.0/8:*', '--allow', 'target.test:*'],
      ...cases.flatMap(({ url, wrongUrl, peer, closedPort, wrongPort }) => [
        ...['--parent', `*:${peer.port},${closedPort}=${url}`],
        ...(wrongUrl === undefined ? [] : ['--parent', `*:${wrongPort}=${wrongUrl}`]),
      ]),
    ],
    { env: { NODE_EXTRA_CA_CERTS: certificate?.certificateFile ?? '' } },
  );
  const much = randomBytes(2_000_000);

  for (const { name, url, shown, wrongUrl, peer, closedPort, wrongPort } of cases) {
    await t.test(`${name}: carries every byte both ways, to names and addresses`, async (t) => {
      for (const host of ['target.test', '127.0.0.1']) {
        const target = `${host}:${peer.port}`;
        const { status, text, socket: client } = await exchange(t, proxy, connectHead(target));
        t.equal(status, 200, text);
        const upstream = await peer.next();
        client.write(much);
        t.ok((await readBytes(upstream, much.length)).equals(much));
        upstream.end(much);
        const received = await readToEnd(client);
        t.equal(received.end, 'fin');
        t.ok(received.bytes.equals(much));
        client.end();
        upstream.destroy();
        t.match(await proxy.until((record) => record.event === 'close' && record.target === target), {
          parent: shown,
          engine: url.startsWith('https') ? 'stream' : 'splice',
          bytesUp: much.length,
          bytesDown: much.length,
        });
      }
    });

    await t.test(`${name}: carries requests for URLs, and switches of protocols`, async (t) => {
      const origin = { ...peer, host: 'target.test' };
      const post = `POST http://target.test:${peer.port}/path HTTP/1.1\r\nHost: target.test\r\n${AUTHORIZATION}Content-Length: 4\r\n\r\nbody`;
      const posted = await ask(t, proxy, origin, post);
      t.match(posted.request.text, /^POST \/path HTTP\/1\.[01]\r\n/);
      t.equal(
        `${posted.request.rest}${await readBytes(posted.upstream, 4 - posted.request.rest.length)}`,
        'body',
      );
      posted.upstream.end('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nanswer');
      const answer = await readHead(posted.client);
      t.equal(answer.status, 200, answer.text);
      t.equal(`${answer.rest}${await readBytes(posted.client, 6 - answer.rest.length)}`, 'answer');

      const { client, upstream, request } = await ask(t, proxy, origin, `${offerHead(origin)}early`);
      t.match(request.headers, { connection: 'Upgrade', upgrade: 'SPDY/3.1' });
      upstream.write(`${switching('SPDY/3.1')}first`);
      const head = await readHead(client);
      t.equal(head.status, 101, head.text);
      t.equal(`${head.rest}${await readBytes(client, 5 - head.rest.length)}`, 'first');
      t.equal((await readBytes(upstream, 5)).toString(), 'early');
      client.end(much);
      const received = await readToEnd(upstream);
      t.ok(received.bytes.equals(much));
      t.equal(received.end, 'fin');
      upstream.end();
      t.equal((await readToEnd(client)).end, 'fin');
    });

    await t.test(`${name}: what it says of a target at which nobody listens is told`, async (t) => {
      const { status, phrase } = await exchange(t, proxy, connectHead(`127.0.0.1:${closedPort}`));
      t.equal(status, 502);
      t.match(phrase, `parent_refused: ${shown}`);
    });

    if (wrongUrl === undefined) continue;
    await t.test(`${name}: its refusal of a password is told, its challenge is not`, async (t) => {
      const { status, phrase, headers } = await exchange(t, proxy, connectHead(`127.0.0.1:${wrongPort}`));
      t.equal(status, 502);
      t.match(phrase, `parent_credentials_rejected: ${shown}`);
      t.notOk('proxy-authenticate' in headers || 'www-authenticate' in headers);
    });
  }

  t.equal(await proxy.stop(), 0);
  t.notMatch(JSON.stringify(proxy.log), 'let-me-through');
});
