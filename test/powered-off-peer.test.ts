import { execFileSync } from 'node:child_process';
import t, { type Test } from 'tap';
import { receiveAll } from './fixtures/endings.js';
import { startProxy } from './fixtures/proxy.js';
import { listenOn, openTunnel, readBytes } from './fixtures/sockets.js';

t.jobs = 4;

for (const host of ['127.0.0.1', '::1']) {
  for (const side of ['client', 'upstream'] as const) {
    t.test(`a ${side} that falls silent on ${host} is found by keepalive`, { buffered: true }, async (t) => {
      const peer = await listenOn(t, host);
      const proxy = await startProxy(t, [
        ...['--listen', host === '::1' ? '[::1]:0' : '127.0.0.1:0', '--keepalive', '1s'],
        ...['--allow', '127.0.0.0/8:*', '--allow', '[::1]/128:*'],
      ]);
      const { client, upstream } = await openTunnel(t, proxy, peer);
      client.write('ping');
      t.equal((await readBytes(upstream, 4)).toString(), 'ping');
      silence(t, (side === 'client' ? client.localPort : peer.port) ?? 0);
      t.same(await receiveAll(side === 'client' ? upstream : client), {
        bytes: Buffer.alloc(0),
        end: 'reset',
      });
      t.match(await proxy.until(({ event }) => event === 'close'), {
        cause: `${side}_timeout`,
        endedBy: side,
        bytesUp: 4,
      });
    });
  }
}

/** As if somebody had pulled the plug: from now on nothing passes to or from this port. See test/run. */
function silence(t: Test, port: number): void {
  execFileSync('nft', ['add', 'element', 'inet', 'test', 'silent_ports', `{ ${port} }`]);
  t.teardown(() => execFileSync('nft', ['delete', 'element', 'inet', 'test', 'silent_ports', `{ ${port} }`]));
}
