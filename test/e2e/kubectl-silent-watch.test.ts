import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';

import { Child } from '../../src/commands/rehearsal/child.js';
import { startOnFreePort } from '../../src/commands/rehearsal/ports.js';
import { OPTIONS } from '../../src/config/options.js';
import { type ApiServer, knowing, startApiServer } from '../fixtures/api-server.js';
import { modified, POD } from '../fixtures/api-server-resources.js';
import { type Kubectl, startKubectl, startProxyTo } from '../fixtures/kubectl.js';
import { movedClock } from '../fixtures/moved-clock.js';
import { PASSWORD, type RunningProxy, USER } from '../fixtures/proxy.js';
import { connectHead, exchange } from '../fixtures/sockets.js';

const [MINUTE_MS, HOUR_MS] = [60_000, 3_600_000];

/** How long other proxies keep a silent tunnel by default. */
const OTHERS_MS = {
  'AWS classic load balancer': MINUTE_MS,
  'AWS network load balancer': 350_000,
  'tinyproxy Timeout': 10 * MINUTE_MS,
  'Squid read_timeout': 15 * MINUTE_MS,
  'OpenShift router timeout-tunnel': HOUR_MS,
};

t.test('a watch is silent for almost 12 hours and goes on', async (t) => {
  const server = await startApiServer(t);
  const clock = movedClock(t, server.home);
  // The default in every respect but this: with one thread, any tunnel wakes the one that moves the watch.
  const proxy = await startProxyTo(t, server, ['--relay-threads', '1'], clock.under);
  const idleMs = OPTIONS.idleTimeout.parse(OPTIONS.idleTimeout.default ?? '').value ?? 0;
  for (const [name, ms] of Object.entries(OTHERS_MS)) t.ok(idleMs - MINUTE_MS > ms, `longer than ${name}`);

  const { lines, watch, ended } = await startWatch(t, server, proxy);
  const pass = async (ms: number) => {
    // Not all at once: what the proxy looks at in between, it looks at.
    for (let leftMs = ms; leftMs > 0; leftMs -= HOUR_MS) {
      clock.forward(Math.min(leftMs, HOUR_MS));
      await wake(t, server, proxy);
    }
  };
  await pass(idleMs - MINUTE_MS);
  watch.write(modified(2));
  t.equal((await lines.next()).value, `${POD} 2`);

  await pass(idleMs + 4 * HOUR_MS);
  const { durationMs } = await proxy.until(({ cause }) => cause === 'idle_timeout');
  t.ok(
    Number(durationMs) >= 2 * idleMs - MINUTE_MS,
    'by a clock that was put forward indeed, the limit is --idle-timeout',
  );
  await ended;
});

t.test('a watch outlasts those through proxies with short limits', async (t) => {
  const server = await startApiServer(t);
  const proxy = await startProxyTo(t, server);
  const { lines, watch, process } = await startWatch(t, server, proxy);

  // Long enough for a busy machine to get the watch going.
  const tinyproxy = await startTinyproxy(t, server, 4);
  const impatient = await startProxyTo(t, server, ['--idle-timeout', '4s']);
  // Their limits pass at the same time.
  const cut: Awaited<ReturnType<typeof startWatch>>[] = [];
  for (const proxy of [tinyproxy, tinyproxy, impatient]) cut.push(await startWatch(t, server, proxy));
  for (const { watch, ended } of cut) {
    if (!watch.closed) await once(watch, 'close');
    await ended;
  }
  const cuts = (await tinyproxy.child.log()).match(/Idle Timeout/gi) ?? [];
  t.ok(cuts.length >= 2, 'tinyproxy cuts it, and again');
  t.match(await impatient.until(({ cause }) => cause === 'idle_timeout'), { user: USER });

  watch.write(modified(2));
  t.equal((await lines.next()).value, `${POD} 2`, 'the one through defaults goes on');
  process.kill('SIGINT');
});

/** kubectl, watching through this proxy, which has got the list and nothing since. */
async function startWatch(
  t: Test,
  server: ApiServer,
  proxy: { readonly port: number },
): Promise<Kubectl & { readonly lines: AsyncIterator<string>; readonly watch: ServerResponse }> {
  const columns = 'jsonpath={.metadata.name} {.metadata.resourceVersion}{"\\n"}';
  const kubectl = startKubectl(t, ['get', 'pods', '--watch', '-o', columns], { server, proxy });
  const lines = createInterface({ input: kubectl.stdout })[Symbol.asyncIterator]();
  t.equal((await lines.next()).value, `${POD} 1`);
  return { ...kubectl, lines, watch: await server.nextWatch() };
}

/** Has the proxy look at its clock, in all its threads. */
async function wake(t: Test, server: ApiServer, proxy: RunningProxy): Promise<void> {
  const { socket, headers } = await exchange(t, proxy, connectHead(server.authority));
  socket.destroy();
  await proxy.until(({ event, tunnel }) => event === 'close' && tunnel === headers['spliceway-tunnel-id']);
}

async function startTinyproxy(
  t: Test,
  server: ApiServer,
  timeoutSeconds: number,
): ReturnType<typeof startOnFreePort> {
  const path = (name: string) => `${server.home}/${name}`;
  return startOnFreePort(async (port) => {
    const settings = [
      `Port ${port}`,
      'Listen 127.0.0.1',
      `Timeout ${timeoutSeconds}`,
      `ConnectPort ${server.port}`,
      `BasicAuth ${USER} ${PASSWORD}`,
    ];
    await writeFile(path('tinyproxy.conf'), `${settings.join('\n')}\n`, { mode: 0o600 });
    const [file = 'unshare', ...args] = [...knowing(server), 'tinyproxy', '-d', '-c', path('tinyproxy.conf')];
    const child = await Child.start({
      name: 'tinyproxy',
      file,
      args,
      environment: { PATH: process.env.PATH ?? '' },
      logFile: path('tinyproxy.log'),
      signal: new AbortController().signal,
    });
    t.teardown(() => child.stop());
    return child;
  });
}
