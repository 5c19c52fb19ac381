import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t from 'tap';
import { resetNow } from '../src/relay/reset.js';
import { LOOPBACK, requestFor } from './fixtures/forwarding.js';
import { settledMemory } from './fixtures/memory-once-settled.js';
import { socketsOf } from './fixtures/process-state.js';
import { type RunningProxy, startProxy } from './fixtures/proxy.js';
import { listenOn } from './fixtures/sockets.js';

const AT_ONCE = 30;
const WARM_UP = 700;
const CONNECTIONS = 1400;
/** Some objects come and go while nothing happens, and some structures shrink late. */
const MAX_MORE = CONNECTIONS / 10;
/** Less than a socket takes. */
const MAX_BYTES_PER_CONNECTION = 2000;

t.test('thousands of forwarded requests with all kinds of ends leave nothing behind', async (t) => {
  const peer = await listenOn(t);
  peer.server.on('connection', answer);
  const proxy = await startProxy(t, [...LOOPBACK, '--linger-timeout', '100ms', '--handshake-timeout', '2s'], {
    env: { NODE_OPTIONS: `--import ${new URL('./fixtures/memory-on-signal.js', import.meta.url)}` },
  });
  const before = socketsOf(proxy.process);
  await use(proxy, peer.port, WARM_UP);
  const first = await settledMemory(proxy, before);
  await use(proxy, peer.port, CONNECTIONS);
  const second = await settledMemory(proxy, before);

  t.comment(
    `${first.heapUsed} bytes of heap, ${CONNECTIONS} connections later ${second.heapUsed}`,
    second.live,
  );
  for (const [part, count] of Object.entries(second.live)) {
    const more = count - (first.live[part] ?? 0);
    t.ok(more < MAX_MORE, `${count} objects of the class ${part}, ${more} more than before`);
  }
  const each = (second.heapUsed - first.heapUsed) / CONNECTIONS;
  t.ok(each < MAX_BYTES_PER_CONNECTION, `${each.toFixed()} bytes of heap for each`);
  const warnings = proxy.log.filter(({ event }) => event === 'process_warning');
  t.same(warnings, [], 'Node has nothing to warn of, such as listeners that pile up');
  t.equal(await proxy.metric('spliceway_uncaught_errors_total'), 0);
  t.equal(await proxy.metric('spliceway_forwarded_requests_active'), 0);
  t.same(
    proxy.log.filter(({ reason, level }) => reason === 'proxy_internal_error' || level === 'error'),
    [],
  );
});

/** What a client sends; the path tells the origin what to do, and `leave` what the client does at the first bytes it gets. */
const CLIENTS: readonly {
  readonly path: string;
  readonly leave: (client: Socket) => void;
  readonly options?: Parameters<typeof requestFor>[1];
  readonly times?: number;
}[] = [
  { path: '/whole', leave: (client) => client.end() },
  { path: '/whole', leave: resetNow },
  { path: '/whole', leave: (client) => client.end(), times: 20 },
  { path: '/chunks', leave: (client) => client.end(), options: { version: '1.0' } },
  { path: '/cut', leave: () => {} },
  { path: '/reset', leave: () => {} },
  { path: '/garbage', leave: (client) => client.end() },
  { path: '/nothing', leave: (client) => client.end() },
  { path: '/begin', leave: (client) => client.end() },
  { path: '/begin', leave: resetNow },
  { path: '/hints', leave: resetNow },
  {
    path: '/early',
    leave: (client) => client.end(),
    options: { method: 'PUT', fields: 'Content-Length: 9\r\n', body: 'x' },
  },
  {
    path: '/whole',
    leave: (client) => client.end(),
    options: { method: 'POST', fields: 'Transfer-Encoding: chunked\r\n', body: '1\r\nx\r\nz\r\n' },
  },
  {
    path: '/whole',
    leave: (client) => client.end(),
    options: { fields: 'Connection: Upgrade\r\nUpgrade: h2c\r\n' },
  },
];

function answer(origin: Socket): void {
  origin.once('data', (head: Buffer) => {
    const path = /^\S+ (\S+)/.exec(head.toString())?.[1];
    if (path === '/whole') origin.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    else if (path === '/chunks')
      origin.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n');
    else if (path === '/cut') origin.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok');
    else if (path === '/reset') origin.write('HTTP/1.1 200 OK\r\n\r\nok', () => resetNow(origin));
    else if (path === '/garbage') origin.end('garbage\r\n\r\n');
    else if (path === '/nothing') origin.end();
    else if (path === '/begin') origin.write('HTTP/1.1 200 OK\r\n\r\nok');
    else if (path === '/hints') origin.write('HTTP/1.1 103 Hints\r\n\r\n');
    else origin.end('HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno');
  });
  origin.once('end', () => origin.end());
  origin.resume();
}

/** So many connections of all kinds, one after the other in a number of rows. */
async function use({ host, port }: RunningProxy, target: number, count: number): Promise<void> {
  let begun = 0;
  const row = async () => {
    while (begun < count) {
      const kind = CLIENTS[begun % CLIENTS.length];
      begun += 1;
      if (kind === undefined) continue;
      const { path, leave, options = {}, times = 1 } = kind;
      const client = connect({ host, port });
      client.on('error', () => {});
      const closed = new Promise((resolve) => client.once('close', resolve));
      await once(client, 'connect');
      client.write(requestFor(`http://127.0.0.1:${target}${path}`, options).repeat(times));
      client.once('data', () => leave(client));
      await closed;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, row));
}

/** What the proxy holds on to. */
