import { type ChildProcess, execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import t from 'tap';
import { resetNow } from '../src/relay/reset.js';
import { receiveAll } from './fixtures/endings.js';
import { cpuSecondsOf, eventually, socketsOf } from './fixtures/process-state.js';
import { startProxy } from './fixtures/proxy.js';
import {
  connectHead,
  connectRaw,
  exchange,
  listenOn,
  openTunnel,
  readBytes,
  readHead,
} from './fixtures/sockets.js';

const ALLOWED = ['--allow', '127.0.0.0/8:*'];

t.test('as many tunnels as the descriptors hold, and a 503 for the next until one has ended', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, [...ALLOWED, '--relay-threads', '2'], {
    under: ['prlimit', '--nofile=120:120'],
  });
  const before = socketsOf(proxy.process);
  const most = Number((await proxy.until(({ event }) => event === 'listening')).maxTunnels);
  t.ok(most >= 10 && most < 40, `${most} tunnels fit into 120 descriptors`);
  const tunnels = [];
  while (tunnels.length < most) tunnels.push(await openTunnel(t, proxy, peer));

  for (let tries = 0; tries < 5; tries += 1) {
    const { status, headers, socket } = await exchange(t, proxy, connectHead(`127.0.0.1:${peer.port}`));
    t.equal(status, 503);
    t.match(headers, { 'proxy-status': /error=connection_limit_reached/, 'retry-after': /^[0-9]+$/ });
    socket.destroy();
  }
  for (const { client, upstream } of tunnels) {
    client.write('still open?');
    t.equal((await readBytes(upstream, 11)).toString(), 'still open?');
  }

  const [first, ...others] = tunnels;
  first?.client.end();
  first?.upstream.end();
  await proxy.until(({ event }) => event === 'close');
  others.push(await openTunnel(t, proxy, peer));
  for (const { client } of others) resetNow(client);
  await eventually(
    () => socketsOf(proxy.process),
    (count) => count === before,
  );
  t.pass('every descriptor is back');
});

t.test(
  'without a descriptor left, dials get a 503, tunnels run on, and accepting does not spin',
  async (t) => {
    const peer = await listenOn(t);
    const proxy = await startProxy(t, ALLOWED);
    const before = socketsOf(proxy.process);
    const tunnel = await openTunnel(t, proxy, peer);
    const waiting = [await connectRaw(t, proxy), await connectRaw(t, proxy)] as const;
    // Not by the metrics: the connection of a scrape that closes later would leave a descriptor free.
    await eventually(
      () => socketsOf(proxy.process),
      (count) => count === before + 4,
    );
    limitDescriptors(proxy.process, lowestFree(proxy.process));

    const cpuBefore = cpuSecondsOf(proxy.process);
    const startedMs = performance.now();
    // Nobody can be let in, and nobody is left waiting.
    for (let tries = 0; performance.now() - startedMs < 1000; tries += 1) {
      const refused = await connectRaw(t, proxy);
      const { bytes } = await receiveAll(refused);
      if (bytes.length > 0) t.fail(`let in after ${tries}`);
      tunnel.client.write('still open?');
      await readBytes(tunnel.upstream, 11);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const seconds = (performance.now() - startedMs) / 1000;
    const cpu = cpuSecondsOf(proxy.process) - cpuBefore;
    t.ok(cpu < seconds / 2, `${cpu.toFixed(2)} s of processor time in ${seconds.toFixed(2)} s`);

    for (const [i, host] of ['127.0.0.1', 'v4.test'].entries()) {
      const client = waiting[i === 0 ? 0 : 1];
      client.write(connectHead(`${host}:${peer.port}`));
      const { status, headers } = await readHead(client);
      t.equal(status, 503, host);
      t.match(headers, { 'proxy-status': /error=resources_exhausted/, 'retry-after': /^[0-9]+$/ });
    }

    limitDescriptors(proxy.process, 1024);
    await eventually(
      () => exchange(t, proxy, connectHead(`127.0.0.1:${peer.port}`)).catch(() => ({ status: 0 })),
      ({ status }) => status === 200,
    );
    t.pass('served again');
    t.equal(await proxy.metric('spliceway_uncaught_errors_total'), 0);
  },
);

/** The descriptor that the process would open next. */
function lowestFree({ pid }: ChildProcess): number {
  const open = new Set(readdirSync(`/proc/${pid}/fd`));
  let lowest = 0;
  while (open.has(`${lowest}`)) lowest += 1;
  return lowest;
}

/** What is open already stays open. */
function limitDescriptors({ pid }: ChildProcess, limit: number): void {
  execFileSync('prlimit', ['--pid', `${pid}`, `--nofile=${limit}:`]);
}
