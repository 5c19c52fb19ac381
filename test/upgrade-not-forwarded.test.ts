import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { AUTHORIZATION, PASSWORD, startProxy, USER } from './fixtures/proxy.js';
import { checkRefusal } from './fixtures/refusals.js';
import { connectRaw, type Head, readBytes, readHead } from './fixtures/sockets.js';
import { offerHead } from './fixtures/upgrade.js';

const ALLOWED = ['--allow', '127.0.0.0/8:*'];

t.test('h2c, as curl --http2 offers it, is dropped, and the request goes on as it is', async (t) => {
  const { origin, seen } = await originOf(t);
  const proxy = await startProxy(t, ALLOWED);
  const url = `http://127.0.0.1:${portOf(origin)}`;
  const get = (...args: string[]) =>
    promisify(execFile)(
      'curl',
      [
        ...['-q', '-sSv', '-m', '20', '--http2', '-x', `http://${proxy.host}:${proxy.port}`],
        ...['--proxy-user', `${USER}:${PASSWORD}`, ...args],
      ],
      { env: {} },
    );
  const { stdout, stderr } = await get(`${url}/one`, `${url}/two`, `${url}/three`);
  t.match(stderr, /^> Upgrade: h2c/m, 'curl offers it');
  t.equal(stdout, 'GET /one; GET /two; GET /three; ');
  t.equal(await proxy.metric('spliceway_connections_total'), 1, 'all three on one connection');
  t.equal((await get('-d', 'content', `${url}/four`)).stdout, 'POST /four content; ');
  for (const { headers } of seen) {
    t.notOk('upgrade' in headers || 'http2-settings' in headers);
    t.notMatch(headers.connection, /upgrade/i);
  }
  t.equal(seen.length, 4);
  t.notOk(proxy.log.some((record) => 'upgrade' in record));
});

t.test('one connection takes any number of offers that are dropped', async (t) => {
  const { origin } = await originOf(t);
  const proxy = await startProxy(t, ALLOWED, {
    env: { NODE_OPTIONS: `--import ${new URL('./fixtures/memory-on-signal.js', import.meta.url)}` },
  });
  const client = await connectRaw(t, proxy);
  for (let i = 0; i < 50; i += 1) {
    client.write(offerHead({ host: '127.0.0.1', port: portOf(origin) }, { upgrade: 'h2c' }));
    const head = await readHead(client);
    t.match(head, { status: 200, headers: { 'content-length': '17' } });
    t.equal((await contentOf(client, head)).toString(), 'GET /path?query; ');
  }
  t.equal(await proxy.metric('spliceway_connections_total'), 1);
  const warnings = proxy.log.filter(({ event }) => event === 'process_warning');
  t.same(warnings, [], 'Node has nothing to warn of, such as listeners that pile up');
});

t.test('what the request is not made for, or --upgrade leaves out, is dropped', async (t) => {
  const { origin, seen } = await originOf(t);
  const to = { host: '127.0.0.1', port: portOf(origin) };
  const chunked = `${AUTHORIZATION}Transfer-Encoding: chunked\r\n`;
  const cases = [
    { flags: ['--upgrade', 'none'], offer: {} },
    { flags: ['--upgrade', 'none'], offer: { upgrade: 'websocket' } },
    { flags: ['--upgrade', 'websocket'], offer: {} },
    { flags: [], offer: { version: '1.0' } },
    { flags: [], offer: { connection: 'keep-alive' } },
    { flags: [], offer: { connection: 'upgraded' } },
    { flags: [], offer: { upgrade: 'SPDY/2, TLS/1.0' } },
    {
      flags: [],
      offer: { method: 'POST', fields: `${AUTHORIZATION}Content-Length: 5\r\n` },
      content: 'hello',
    },
    { flags: [], offer: { method: 'PUT', fields: chunked }, content: '2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n' },
  ];
  for (const { flags, offer, content = '' } of cases) {
    const proxy = await startProxy(t, [...ALLOWED, ...flags]);
    for (const segments of [[offerHead(to, offer) + content], [offerHead(to, offer), content]]) {
      const client = await connectRaw(t, proxy);
      client.setNoDelay();
      for (const segment of segments) client.write(segment);
      const head = await readHead(client);
      t.equal(head.status, 200, JSON.stringify({ flags, offer }));
      const { method = 'GET' } = offer;
      const expected = content === '' ? `${method} /path?query; ` : `${method} /path?query hello; `;
      t.equal((await contentOf(client, head)).toString(), expected);
      t.notOk('upgrade' in (seen.at(-1)?.headers ?? {}));
      t.notMatch(seen.at(-1)?.headers.connection, /upgrade/i);
      client.destroy();
    }
    t.notOk(proxy.log.some((record) => 'upgrade' in record));
  }
});

t.test('other forms of request are refused as they are without an offer', async (t) => {
  const proxy = await startProxy(t, ALLOWED);
  const path = offerHead({ host: '127.0.0.1', port: 1 }).replace('http://127.0.0.1:1', '');
  await checkRefusal(t, proxy, path, { status: 405, reason: 'method_not_allowed' });
  const https = offerHead({ host: '127.0.0.1', port: 1 }).replace('http:', 'https:');
  await checkRefusal(t, proxy, https, { status: 400, reason: 'target_invalid' });
});

/** An HTTP server that answers with the request, and what it has seen. */
async function originOf(t: Test): Promise<{ readonly origin: Server; readonly seen: IncomingMessage[] }> {
  const seen: IncomingMessage[] = [];
  const origin = createServer(async (request, response) => {
    seen.push(request);
    let content = `${request.method} ${request.url}`;
    for await (const chunk of request) content += ` ${chunk}`.slice(content.includes('?query ') ? 1 : 0);
    response.end(`${content}; `);
  });
  origin.listen(0, '127.0.0.1');
  await once(origin, 'listening');
  t.teardown(() => origin.close());
  return { origin, seen };
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port; // A TCP server that listens has one.
}

async function contentOf(client: Parameters<typeof readBytes>[0], { headers, rest }: Head): Promise<Buffer> {
  client.unshift(rest);
  return readBytes(client, Number(headers['content-length']));
}
