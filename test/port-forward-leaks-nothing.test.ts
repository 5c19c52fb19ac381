import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t from 'tap';
import { resetNow } from '../src/relay/reset.js';
import { startForward } from './fixtures/forward.js';
import { settledMemory } from './fixtures/memory-once-settled.js';
import { eventually, socketsOf } from './fixtures/process-state.js';
import type { RunningProxy } from './fixtures/proxy.js';
import { listenOn } from './fixtures/sockets.js';

const AT_ONCE = 40;
const WARM_UP = 1000;
const TUNNELS = 2000;
/** Some objects come and go while nothing happens, and some structures shrink late. */
const MAX_MORE = TUNNELS / 10;
/** Less than a socket takes. The heap grows a little anyway for some time, with the code that V8 compiles. */
const MAX_BYTES_PER_TUNNEL = 2000;

t.test(
  'thousands of connections with all kinds of ends leave no memory and no descriptor behind',
  async (t) => {
    const peer = await listenOn(t);
    peer.server.on('connection', answer);
    // So few that some are refused.
    const port = await startForward(t, `127.0.0.1:${peer.port}`, ['--max-tunnels', String(AT_ONCE / 2)], {
      env: { NODE_OPTIONS: `--import ${new URL('./fixtures/memory-on-signal.js', import.meta.url)}` },
    });
    const before = socketsOf(port.process);
    await use(port, WARM_UP);
    const first = await settledMemory(port, before);
    await use(port, TUNNELS);
    const second = await settledMemory(port, before);

    t.comment(
      `${first.heapUsed} bytes of heap, ${TUNNELS} connections later ${second.heapUsed}`,
      second.live,
    );
    for (const [part, count] of Object.entries(second.live)) {
      const more = count - (first.live[part] ?? 0);
      t.ok(more < MAX_MORE, `${count} objects of the class ${part}, ${more} more than before`);
    }
    const perTunnel = (second.heapUsed - first.heapUsed) / TUNNELS;
    t.ok(perTunnel < MAX_BYTES_PER_TUNNEL, `${perTunnel.toFixed()} bytes of heap for each`);
    const decided = () => port.log.filter(({ event }) => event === 'decision').length;
    t.equal(await eventually(decided, (count) => count >= WARM_UP + TUNNELS), WARM_UP + TUNNELS);
    t.ok(
      (await port.metric('spliceway_requests_total{code="200",reason="established"}')) > 0,
      'some were tunnels',
    );
    const refused = 'spliceway_requests_total{code="503",reason="connection_limit_reached"}';
    t.ok((await port.metric(refused)) > 0, 'some were refused');
    t.same(
      port.log.filter(({ event }) => event === 'process_warning'),
      [],
      'Node has nothing to warn of, such as listeners that pile up',
    );
    t.equal(await port.metric('spliceway_uncaught_errors_total'), 0);
  },
);

/** What a client does; it always ends its half or resets in the end. */
const CLIENTS: readonly ((client: Socket) => void)[] = [
  (client) => client.end(),
  (client) => client.end('echo'),
  (client) => client.end('fin'),
  (client) => resetNow(client),
  (client) => answered(client, 'echo', () => client.end('over')),
  (client) => answered(client, 'fin', () => client.end()),
  (client) => answered(client, 'reset', () => client.end()),
  (client) => answered(client, 'echo', () => resetNow(client)),
];

function answered(client: Socket, words: string, act: () => void): void {
  client.write(words);
  client.once('data', act);
}

/** The first byte tells the upstream what to do. */
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
async function use({ host, port }: RunningProxy, count: number): Promise<void> {
  let begun = 0;
  const row = async () => {
    while (begun < count) {
      const act = CLIENTS[begun % CLIENTS.length];
      begun += 1;
      const client = connect({ host, port, allowHalfOpen: true });
      client.on('error', () => {});
      const closed = new Promise((resolve) => client.once('close', resolve));
      // A refusal may come as early as this.
      const connected = await once(client, 'connect').then(
        () => true,
        () => false,
      );
      if (connected) act?.(client);
      client.resume();
      await closed;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, row));
}
