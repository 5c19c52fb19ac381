import t from 'tap';
import type { Reason } from '../src/reasons.js';
import { LOOPBACK, reach, readAnswer, requestFor, urlOf } from './fixtures/forwarding.js';
import { AUTHORIZATION, startProxy } from './fixtures/proxy.js';
import { checkRefusal, checkRefusalMetrics } from './fixtures/refusals.js';
import { listenOn } from './fixtures/sockets.js';

const WRONG = `Proxy-Authorization: Basic ${Buffer.from('migration:wrong').toString('base64')}\r\n`;
const FLAGS = [...LOOPBACK, '--allow', '*.test:*', '--deny', 'denied.test:*', '--connect-timeout', '500ms'];

const REFUSED: readonly (readonly [
  what: string,
  url: string,
  credentials: string,
  status: number,
  reason: Reason,
])[] = [
  ['no credentials', 'http://127.0.0.1:9/', '', 407, 'credentials_missing'],
  ['wrong credentials', 'http://127.0.0.1:9/', WRONG, 407, 'credentials_rejected'],
  ['credentials twice', 'http://127.0.0.1:9/', AUTHORIZATION + AUTHORIZATION, 400, 'http_request_error'],
  [
    'credentials for the origin only',
    'http://127.0.0.1:9/',
    AUTHORIZATION.replace('Proxy-', ''),
    407,
    'credentials_missing',
  ],
  ['a denied name', 'http://denied.test/', AUTHORIZATION, 403, 'destination_denied'],
  ['no rule', 'http://10.77.0.1/', AUTHORIZATION, 403, 'destination_denied'],
  ['cloud metadata', 'http://169.254.169.254/latest/', AUTHORIZATION, 403, 'destination_ip_prohibited'],
  [
    'cloud metadata, by name',
    'http://metadata.test/latest/',
    AUTHORIZATION,
    403,
    'destination_ip_prohibited',
  ],
  ['a name that is none', 'http://absent.test/', AUTHORIZATION, 502, 'dns_error'],
  ['nobody there', 'http://127.0.0.1:9/', AUTHORIZATION, 502, 'connection_refused'],
  ['nobody there, IPv6', 'http://[::1]:9/', AUTHORIZATION, 502, 'connection_refused'],
  ['no way there', 'http://unreachable.test/', AUTHORIZATION, 502, 'destination_ip_unroutable'],
  ['nobody who says anything', 'http://blackhole.test/', AUTHORIZATION, 504, 'connection_timeout'],
];

t.test(
  'a request is refused for the reasons of CONNECT, with its answers, whatever content it has',
  async (t) => {
    const proxy = await startProxy(t, FLAGS);
    for (const [what, url, credentials, status, reason] of REFUSED) {
      for (const [method, fields, body] of [
        ['GET', '', ''],
        ['HEAD', '', ''],
        ['POST', 'Content-Length: 5\r\n', 'hello'],
        // More than the socket buffers hold unless somebody reads.
        ['PUT', 'Content-Length: 16777216\r\n', 'x'.repeat(16 * 1024 * 1024)],
        ['PUT', 'Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n', ''],
      ] as const) {
        const request = requestFor(url, { method, fields, body }).replace(AUTHORIZATION, credentials);
        await t.test(`${what}: ${method} ${fields}`, (t) =>
          checkRefusal(t, proxy, request, { status, reason }),
        );
      }
    }
    await checkRefusalMetrics(t, proxy);
  },
);

t.test('port 80 is not allowed unless a rule says so', async (t) => {
  const proxy = await startProxy(t);
  await checkRefusal(t, proxy, requestFor('http://host.test/'), {
    status: 403,
    reason: 'destination_denied',
    says: /host\.test:80/,
  });
});

t.test('the proxy does not forward to itself', async (t) => {
  const proxy = await startProxy(t, LOOPBACK);
  for (const port of [proxy.port, Number(proxy.admin.split(':').at(-1))])
    await checkRefusal(t, proxy, requestFor(`http://127.0.0.1:${port}/metrics`), {
      status: 403,
      reason: 'destination_is_proxy',
    });
});

t.test('requests under way take places, also idle connections do not', async (t) => {
  const peer = await listenOn(t);
  for (const [flag, status, reason] of [
    ['--max-tunnels-per-user', 429, 'user_limit_reached'],
    ['--max-tunnels-per-client', 429, 'client_limit_reached'],
    ['--max-tunnels', 503, 'connection_limit_reached'],
  ] as const) {
    const proxy = await startProxy(t, [...LOOPBACK, flag, '1']);
    const { client, origin } = await reach(t, proxy, peer, requestFor(urlOf(peer)));
    await checkRefusal(t, proxy, requestFor(urlOf(peer)), { status, reason });
    origin.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    t.equal((await readAnswer(client)).body, 'ok');
    await proxy.until(({ event }) => event === 'close');
    const next = await reach(t, proxy, peer, requestFor(urlOf(peer)));
    next.origin.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    t.equal(
      (await readAnswer(next.client)).body,
      'ok',
      `${flag}: the place is free again, though the connection stays`,
    );
  }
});
