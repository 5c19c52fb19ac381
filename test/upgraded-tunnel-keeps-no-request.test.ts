import type { Socket } from 'node:net';
import t from 'tap';
import { settledMemory } from './fixtures/memory-once-settled.js';
import { socketsOf } from './fixtures/process-state.js';
import { startProxy } from './fixtures/proxy.js';
import { listenOn, openTunnel, readHead } from './fixtures/sockets.js';
import { ask, offerHead, openUpgraded } from './fixtures/upgrade.js';

const TUNNELS = 400;
/** Some objects come and go while nothing happens; what each tunnel kept would be as many as there are tunnels. */
const MAX_MORE = TUNNELS / 10;
/** It is some 1100 bytes for CONNECT, and 300 more for what is logged of the request. */
const MAX_BYTES_PER_TUNNEL = 2000;

t.test(
  'an idle tunnel behind a 101 keeps its record, and nothing of request, answer and sockets',
  async (t) => {
    const peer = await listenOn(t);
    const proxy = await startProxy(t, ['--allow', '127.0.0.0/8:*', '--linger-timeout', '100ms'], {
      env: { NODE_OPTIONS: `--import ${new URL('./fixtures/memory-on-signal.js', import.meta.url)}` },
    });
    const ways = {
      CONNECT: () => openTunnel(t, proxy, peer),
      Upgrade: () => openUpgraded(t, proxy, peer),
    };
    const declined = async () => {
      const { client, upstream } = await ask(t, proxy, peer, offerHead(peer));
      upstream.end('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n');
      await readHead(client);
      client.destroy();
      upstream.destroy();
    };
    const sockets = socketsOf(proxy.process);
    for (let i = 0; i < TUNNELS; i += 1) {
      for (const open of Object.values(ways)) close(await open());
      await declined();
    }
    for (const [way, open] of Object.entries(ways)) {
      const first = await settledMemory(proxy, sockets);
      const held: Tunnel[] = [];
      for (let i = 0; i < TUNNELS; i += 1) held.push(await open());
      const second = await settledMemory(proxy, sockets + 2 * TUNNELS);
      for (const part of ['Socket', 'IncomingMessage', 'ServerResponse', 'ClientRequest', 'Timeout']) {
        const more = (second.live[part] ?? 0) - (first.live[part] ?? 0);
        t.ok(more < MAX_MORE, `${way}: ${more} more of ${part}`);
      }
      const perTunnel = (second.heapUsed - first.heapUsed) / TUNNELS;
      t.ok(perTunnel < MAX_BYTES_PER_TUNNEL, `${way}: ${perTunnel.toFixed()} bytes of heap for each`);
      for (const tunnel of held) close(tunnel);
    }
    await settledMemory(proxy, sockets);
    t.equal(await proxy.metric('spliceway_tunnels_active{engine="splice"}'), 0);
  },
);

interface Tunnel {
  readonly client: Socket;
  readonly upstream: Socket;
}

function close({ client, upstream }: Tunnel): void {
  client.destroy();
  upstream.destroy();
}
