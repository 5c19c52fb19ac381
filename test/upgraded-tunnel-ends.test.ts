import t from 'tap';
import { resetNow } from '../src/relay/reset.js';
import { receiveAll } from './fixtures/endings.js';
import { eventually, socketsOf } from './fixtures/process-state.js';
import { startProxy } from './fixtures/proxy.js';
import { type connectRaw, listenOn, readBytes, readHead, readToEnd } from './fixtures/sockets.js';
import { ask, closeOf, offerHead, openUpgraded, switching } from './fixtures/upgrade.js';

const ALLOWED = ['--allow', '127.0.0.0/8:*'];
const RESET = { bytes: Buffer.alloc(0), end: 'reset' };

for (const engine of ['splice', 'stream']) {
  const flags = [...ALLOWED, '--relay', engine];

  t.test(`behind a 101 an end of file is one half, and a reset is a reset (${engine})`, async (t) => {
    const peer = await listenOn(t);
    const proxy = await startProxy(t, flags);
    for (const [one, other] of [
      ['client', 'upstream'],
      ['upstream', 'client'],
    ] as const) {
      const fin = await openUpgraded(t, proxy, peer);
      fin[one].end('last words');
      t.same(await receiveAll(fin[other]), { bytes: Buffer.from('last words'), end: 'fin' });
      fin[other].write('still here');
      t.equal((await readBytes(fin[one], 10)).toString(), 'still here', `after the end of the ${one}`);
      fin[other].end();
      t.equal((await receiveAll(fin[one])).end, 'fin');
      t.match(await closeOf(proxy, fin.head), { cause: `${one}_fin`, endedBy: one, engine });

      const reset = await openUpgraded(t, proxy, peer);
      reset[one].write('last words');
      t.equal((await readBytes(reset[other], 10)).toString(), 'last words');
      resetNow(reset[one]);
      t.same(await receiveAll(reset[other]), RESET);
      t.match(await closeOf(proxy, reset.head), { cause: `${one}_reset`, endedBy: one, engine });
    }
  });

  t.test(`silence ends it when --idle-timeout says so (${engine})`, async (t) => {
    const peer = await listenOn(t);
    const proxy = await startProxy(t, [...flags, '--idle-timeout', '1s', '--half-close-timeout', '500ms']);
    const startedMs = performance.now();
    const { client, upstream, head } = await openUpgraded(t, proxy, peer);
    t.same(await Promise.all([receiveAll(client), receiveAll(upstream)]), [RESET, RESET]);
    t.ok(performance.now() - startedMs >= 995, 'not before its time');
    t.match(await closeOf(proxy, head), { cause: 'idle_timeout', endedBy: 'proxy' });

    const half = await openUpgraded(t, proxy, peer);
    half.client.end();
    t.same(await readToEnd(half.upstream), { bytes: Buffer.alloc(0), end: 'fin' });
    t.match(await closeOf(proxy, half.head), { cause: 'half_close_timeout' });
  });

  t.test(`a drain waits for it, and cuts it when its time is over (${engine})`, async (t) => {
    const peer = await listenOn(t);
    const patient = await startProxy(t, flags);
    const kept = await openUpgraded(t, patient, peer);
    const exited = patient.stop();
    await patient.until(({ event }) => event === 'draining');
    kept.client.write('still open?');
    t.equal((await readBytes(kept.upstream, 11)).toString(), 'still open?');
    kept.client.end();
    kept.upstream.end();
    t.equal(await exited, 0);

    const proxy = await startProxy(t, [...flags, '--drain-timeout', '300ms']);
    const cut = await openUpgraded(t, proxy, peer);
    const waiting = await ask(t, proxy, peer, offerHead(peer));
    const ended = proxy.stop();
    t.same(await Promise.all([receiveAll(cut.client), receiveAll(cut.upstream)]), [RESET, RESET]);
    t.match(await readHead(waiting.client), { status: 503, phrase: /^draining: / });
    t.equal(await ended, 1);
    t.match(await closeOf(proxy, cut.head), { cause: 'aborted' });
    t.match(proxy.log.at(-1), { event: 'stopped', cut: 2 });
  });
}

t.test('an origin that has not answered is left when the client is gone', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, ALLOWED);
  const sockets = socketsOf(proxy.process);
  for (const [how, leave] of [
    ['by a reset', resetNow],
    ['by an end of file', (client) => void client.end()],
    ['by a reset behind early bytes', (client) => void client.write('early', () => resetNow(client))],
  ] satisfies [string, (client: Awaited<ReturnType<typeof connectRaw>>) => void][]) {
    const { client, upstream } = await ask(t, proxy, peer, offerHead(peer));
    const earlier = proxy.log.length;
    leave(client);
    await receiveAll(upstream);
    const close = await proxy.until(
      (record) => record.event === 'close' && proxy.log.indexOf(record) >= earlier,
    );
    t.match(close, { reason: 'client_gone', upgrade: 'SPDY/3.1' }, how);
  }
  await eventually(
    () => socketsOf(proxy.process),
    (count) => count === sockets,
  );
  t.equal(await proxy.metric('spliceway_upgrades_total{token="SPDY/3.1",result="failed"}'), 3);

  const { client, upstream } = await ask(t, proxy, peer, offerHead(peer));
  upstream.write(switching('SPDY/3.1'));
  t.equal((await readHead(client)).status, 101, 'and others are served');
});
