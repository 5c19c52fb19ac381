import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { AUTHORIZATION, startProxy } from './fixtures/proxy.js';
import { checkRefusal } from './fixtures/refusals.js';
import {
  connectHead,
  connectRaw,
  exchange,
  listenOn,
  openTunnel,
  readBytes,
  readHead,
  readToEnd,
} from './fixtures/sockets.js';

const DEADLINE_MS = 1000;
/** Later than this, however busy the machine, an answer does not come from the deadline. */
const LATE_MS = 30_000;
/** Who goes on dripping while it is answered is not cut for it. */
const FLAGS = ['--handshake-timeout', `${DEADLINE_MS}ms`, '--linger-timeout', '60s'];

// These tests wait more than they work.
t.jobs = 4;

const DROPPED = (why: string) => `spliceway_connections_dropped_total{why="${why}"}`;

t.test(
  'a request that is not complete in time is answered with 408, however busily it drips in',
  { buffered: true },
  async (t) => {
    const proxy = await startProxy(t, FLAGS);
    const slow: Readonly<Record<string, readonly [begin: string, drip: string]>> = {
      'nothing more of the request line': ['CONNECT host.te', ''],
      'nothing more of the fields': ['CONNECT host.test:443 HTTP/1.1\r\nHost: host.test\r\n', ''],
      'all but the last line feed': [connectHead('host.test:443').slice(0, -1), ''],
      'a target, letter by letter': ['CONNECT ', 'h'],
      'a value, letter by letter': ['CONNECT host.test:443 HTTP/1.1\r\nHost: host.test\r\nName: ', 'v'],
      'field after field': [
        `CONNECT host.test:443 HTTP/1.1\r\nHost: host.test\r\n${AUTHORIZATION}`,
        'N: v\r\n',
      ],
      'empty lines before the request': ['\r\n', '\r\n'],
    };
    const attempt = async ([what, [begin, drip]]: readonly [string, readonly [string, string]]) => {
      // The proxy may accept the connection before this process hears of it.
      const startedMs = performance.now();
      const client = await connectRaw(t, proxy);
      client.setNoDelay();
      client.write(begin);
      const timer = setInterval(() => client.write(drip), 20);
      t.teardown(() => clearInterval(timer));
      const answer = await readHead(client);
      clearInterval(timer);
      const tookMs = performance.now() - startedMs;
      t.match(answer.text, /^HTTP\/1\.1 408 request_timeout: .+; .+--handshake-timeout\r\n/, what);
      t.ok(tookMs >= DEADLINE_MS - 5 && tookMs < LATE_MS, `${what}: after ${tookMs} ms`);
      t.equal((await readToEnd(client)).end, 'fin');
    };
    const cases = Object.entries(slow);
    await Promise.all(cases.map(attempt));
    t.equal(
      await proxy.metric('spliceway_requests_total{code="408",reason="request_timeout"}'),
      cases.length,
    );

    // One of them as complete as every refusal.
    await checkRefusal(t, proxy, 'CONNECT host.te', { status: 408, reason: 'request_timeout' });
  },
);

t.test('whoever says nothing is hung up on in silence', { buffered: true }, async (t) => {
  const proxy = await startProxy(t, FLAGS);
  const lines = proxy.log.length;
  const startedMs = performance.now();
  const silent = await Promise.all([1, 2, 3].map(() => connectRaw(t, proxy)));
  for (const client of silent) t.same(await readToEnd(client), { bytes: Buffer.alloc(0), end: 'fin' });
  const tookMs = performance.now() - startedMs;
  t.ok(tookMs >= DEADLINE_MS - 5 && tookMs < LATE_MS, `after ${tookMs} ms`);
  t.equal(await proxy.metric(DROPPED('silent')), 3);
  t.equal(await proxy.metric(DROPPED('incomplete')), 0);
  t.equal(proxy.log.length, lines, 'not a line in the log');
});

t.test(
  'a client that leaves in mid-request is counted, or told when it listens',
  { buffered: true },
  async (t) => {
    const proxy = await startProxy(t);
    const gone = await connectRaw(t, proxy);
    await new Promise((resolve) => gone.write('CONNECT host.te', resolve));
    // libuv shows a reset that comes together with data as an end of file.
    while (hasUnread(proxy.port, gone.localPort ?? 0)) await turn();
    gone.resetAndDestroy();
    await once(gone, 'close');

    const listening = await connectRaw(t, proxy);
    listening.end('CONNECT host.te');
    t.match(
      (await readHead(listening)).text,
      /^HTTP\/1\.1 400 http_request_error: .+ before it was complete; /,
    );
    t.equal((await readToEnd(listening)).end, 'fin');
    t.equal(await proxy.metric(DROPPED('incomplete')), 1);
    t.equal(await proxy.metric(DROPPED('silent')), 0);
  },
);

t.test(
  'the deadline ends with the head: not for the dial, nor for the tunnel',
  { buffered: true },
  async (t) => {
    const peer = await listenOn(t);
    const longer = ['--connect-timeout', `${1.5 * DEADLINE_MS}ms`];
    const proxy = await startProxy(t, [...FLAGS, ...longer, '--allow', '127.0.0.0/8:*']);
    const { client, upstream } = await openTunnel(t, proxy, peer);
    const answer = await exchange(t, proxy, connectHead('127.66.0.1:443'));
    t.equal(answer.status, 504, 'the dial had its own deadline');
    client.write('ping');
    t.equal((await readBytes(upstream, 4)).toString(), 'ping');
  },
);

/** Whether the proxy has not read yet what has come from a client on 127.0.0.1: proc_pid_net(5), rx_queue. */
function hasUnread(proxyPort: number, clientPort: number): boolean {
  const hex = (port: number) => port.toString(16).toUpperCase().padStart(4, '0');
  const ends = new RegExp(`:${hex(proxyPort)} [0-9A-F]{8}:${hex(clientPort)} 01 [0-9A-F]{8}:([0-9A-F]{8})`);
  const [, unread] = ends.exec(readFileSync('/proc/self/net/tcp', 'latin1')) ?? [];
  return Number.parseInt(unread ?? '1', 16) > 0;
}
