import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t from 'tap';
import { resetNow } from '../src/relay/reset.js';
import { settledMemory } from './fixtures/memory-once-settled.js';
import { eventually, socketsOf } from './fixtures/process-state.js';
import { type RunningProxy, startProxy } from './fixtures/proxy.js';
import { connectHead, listenOn } from './fixtures/sockets.js';

const AT_ONCE = 40;
const WARM_UP = 1000;
const TUNNELS = 2000;
/** Some objects come and go while nothing happens, and some structures shrink late. */
const MAX_MORE = TUNNELS / 10;
/** Less than a socket takes. The heap grows a little anyway for some time, with the code that V8 compiles. */
const MAX_BYTES_PER_TUNNEL = 2000;

t.test(
  'thousands of short tunnels with all kinds of ends leave no memory and no descriptor behind',
  async (t) => {
    const peer = await listenOn(t);
    peer.server.on('connection', answer);
    const proxy = await startProxy(
      t,
      ['--allow', `127.0.0.0/8:1,${peer.port}`, '--linger-timeout', '100ms'],
      { env: { NODE_OPTIONS: `--import ${new URL('./fixtures/memory-on-signal.js', import.meta.url)}` } },
    );
    const before = socketsOf(proxy.process);
    await use(proxy, peer.port, WARM_UP);
    const first = await settledMemory(proxy, before);
    await use(proxy, peer.port, TUNNELS);
    const second = await settledMemory(proxy, before);

    t.comment(`${first.heapUsed} bytes of heap, ${TUNNELS} tunnels later ${second.heapUsed}`, second.live);
    for (const [part, count] of Object.entries(second.live)) {
      const more = count - (first.live[part] ?? 0);
      t.ok(more < MAX_MORE, `${count} objects of the class ${part}, ${more} more than before`);
    }
    const perTunnel = (second.heapUsed - first.heapUsed) / TUNNELS;
    t.ok(perTunnel < MAX_BYTES_PER_TUNNEL, `${perTunnel.toFixed()} bytes of heap for each`);
    const decided = () => proxy.log.filter(({ event }) => event === 'decision').length;
    t.equal(await eventually(decided, (count) => count >= WARM_UP + TUNNELS), WARM_UP + TUNNELS);
    const warnings = proxy.log.filter(({ event }) => event === 'process_warning');
    t.same(warnings, [], 'Node has nothing to warn of, such as listeners that pile up');
    t.equal(await proxy.metric('spliceway_uncaught_errors_total'), 0);
  },
);

/** What a client sends, and what it does when it is answered; it always ends its half or resets in the end. */
const CLIENTS: readonly ((client: Socket, port: number) => void)[] = [
  // The first byte tells the upstream what to do.
  (client, port) => client.end(`${connectHead(`127.0.0.1:${port}`)}echo`),
  (client, port) => answered(client, `${connectHead(`127.0.0.1:${port}`)}echo`, () => client.end('over')),
  (client, port) => answered(client, `${connectHead(`127.0.0.1:${port}`)}fin`, () => client.end()),
  (client, port) => answered(client, `${connectHead(`127.0.0.1:${port}`)}reset`, () => client.end()),
  (client, port) => answered(client, `${connectHead(`127.0.0.1:${port}`)}echo`, () => resetNow(client)),
  (client, port) => answered(client, connectHead(`localhost:${port}`), () => resetNow(client)),
  // Refused, by everybody who can refuse.
  (client) => client.end('what is this?\r\n\r\n'),
  (client) => answered(client, connectHead('127.0.0.1:2'), () => client.end()),
  (client) => answered(client, connectHead('127.0.0.1:1'), () => client.end()),
  (client, port) =>
    answered(client, `CONNECT 127.0.0.1:${port} HTTP/1.1\r\nHost: x\r\n\r\n`, () => resetNow(client)),
];

function answered(client: Socket, request: string, act: () => void): void {
  client.write(request);
  client.once('data', act);
}

function answer(upstream: Socket): void {
  upstream.once('data', (words: Buffer) => {
    if (words[0] === 'r'.charCodeAt(0)) resetNow(upstream);
    else if (words[0] === 'f'.charCodeAt(0)) upstream.end('over');
    else upstream.write(words);
  });
  upstream.once('end', () => upstream.end());
  upstream.resume();
}

/** So many connections of all kinds, one after the other in a number of rows. */
async function use({ host, port }: RunningProxy, target: number, count: number): Promise<void> {
  let begun = 0;
  const row = async () => {
    while (begun < count) {
      const act = CLIENTS[begun % CLIENTS.length];
      begun += 1;
      const client = connect({ host, port, allowHalfOpen: true });
      client.on('error', () => {});
      const closed = new Promise((resolve) => client.once('close', resolve));
      await once(client, 'connect');
      act?.(client, target);
      client.resume();
      await closed;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, row));
}
