import { execFileSync } from 'node:child_process';
import t from 'tap';
import { resetNow } from '../src/relay/reset.js';
import { eventually, socketsOf } from './fixtures/process-state.js';
import { startProxy } from './fixtures/proxy.js';
import { connectHead, connectRaw, listenOn } from './fixtures/sockets.js';

/** Addresses of test/run that drop what is sent to them. */
const SILENT = ['127.66.0.1', '[fd66::1]'];

t.test('a client that leaves while its upstream is dialled leaves nothing behind', async (t) => {
  const proxy = await startProxy(t, [
    ...['--allow', '127.0.0.0/8:*', '--allow', '[fd66::]/32:*'],
    // Without the client's leaving, nothing would end the dial within the time of this test.
    ...['--connect-timeout', '1h', '--dial-timeout', '1h'],
  ]);
  // Nobody else has this port, so that its connections can be told from those of other tests.
  const { port } = await listenOn(t);
  const before = socketsOf(proxy.process);
  let gone = 0;

  for (const address of SILENT) {
    for (const { how, early, leave } of [
      { how: 'a reset', early: '', leave: resetNow },
      { how: 'an end of file', early: '', leave: (client: Parameters<typeof resetNow>[0]) => client.end() },
      { how: 'a reset behind early bytes', early: 'hello', leave: resetNow },
      {
        how: 'bytes and a reset that come together, which Node takes for something else',
        early: '',
        leave(client: Parameters<typeof resetNow>[0]) {
          proxy.process.kill('SIGSTOP');
          client.write('hello', () => {
            resetNow(client);
            proxy.process.kill('SIGCONT');
          });
        },
      },
    ]) {
      const client = await connectRaw(t, proxy);
      client.write(connectHead(`${address}:${port}`) + early);
      await eventually(
        () => beingMade(port),
        (count) => count === 1,
      );
      leave(client);
      gone += 1;
      await eventually(
        () => proxy.log.filter(({ event }) => event === 'close').length,
        (count) => count === gone,
      );
      t.match(proxy.log.at(-1), { event: 'close', reason: 'client_gone', target: `${address}:${port}` }, how);
      t.equal(beingMade(port), 0, 'the dial was cancelled');
      client.destroy();
      t.equal(
        await eventually(
          () => socketsOf(proxy.process),
          (count) => count === before,
        ),
        before,
        'no socket is left',
      );
    }
  }
  t.equal(await proxy.metric('spliceway_requests_total{code="499",reason="client_gone"}'), gone);
  t.equal(await proxy.stop(), 0);
});

/** Connections to this port that are still being made, as the kernel sees it. */
function beingMade(port: number): number {
  const out = execFileSync('ss', ['-Htn', 'state', 'syn-sent', `dport = :${port}`], { encoding: 'utf8' });
  return out.split('\n').filter((line) => line !== '').length;
}
