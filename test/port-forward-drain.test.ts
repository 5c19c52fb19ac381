import { execFileSync } from 'node:child_process';
import t from 'tap';
import { receiveAll } from './fixtures/endings.js';
import { startForward, throughPort } from './fixtures/forward.js';
import { eventually } from './fixtures/process-state.js';
import type { RunningProxy } from './fixtures/proxy.js';
import { connectRaw, listenOn, readBytes } from './fixtures/sockets.js';

const RESET = { bytes: Buffer.alloc(0), end: 'reset' };

t.test('SIGTERM: the port is closed at once, and tunnels run on to their end', async (t) => {
  const peer = await listenOn(t);
  const port = await startForward(t, `127.0.0.1:${peer.port}`);
  t.equal((await port.page('/ready')).status, 200);
  const { client, upstream } = await throughPort(t, port, peer);
  const exited = port.stop();
  await eventually(
    () => isListening(port),
    (is) => !is,
  );
  t.equal((await port.page('/ready')).status, 503);
  client.write('still open?');
  t.equal((await readBytes(upstream, 11)).toString(), 'still open?');
  upstream.end('yes');
  t.same(await receiveAll(client), { bytes: Buffer.from('yes'), end: 'fin' });
  client.end();
  t.equal(await exited, 0);
  t.match(port.log.at(-1), { event: 'stopped', cut: 0 });
});

t.test('what does not end in time is reset on both sides, also what is still dialled', async (t) => {
  const peer = await listenOn(t);
  const open = await startForward(t, `127.0.0.1:${peer.port}`, ['--drain-timeout', '0s']);
  const { client, upstream } = await throughPort(t, open, peer);
  const exited = open.stop();
  t.same(await Promise.all([receiveAll(client), receiveAll(upstream)]), [RESET, RESET]);
  t.equal(await exited, 1);
  t.match(
    open.log.find(({ event }) => event === 'close'),
    { cause: 'aborted', endedBy: 'proxy' },
  );

  const dialling = await startForward(t, '127.66.0.1:443', ['--drain-timeout', '0s', '--dial-timeout', '1h']);
  const waiting = await connectRaw(t, dialling);
  await eventually(
    () => dialling.metric('spliceway_connections_total'),
    (count) => count === 1,
  );
  const ended = dialling.stop();
  t.same(await receiveAll(waiting), RESET);
  t.equal(await ended, 1);
  t.match(
    dialling.log.find(({ event }) => event === 'close'),
    { reason: 'draining' },
  );
});

/** As the kernel sees it: a connection made to find out would be one more tunnel. */
function isListening({ port }: RunningProxy): boolean {
  return execFileSync('ss', ['-Hltn', `sport = :${port}`], { encoding: 'utf8' }) !== '';
}
