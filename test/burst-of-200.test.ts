import t from 'tap';
import { receiveAll } from './fixtures/endings.js';
import { eventually, socketsOf } from './fixtures/process-state.js';
import { startProxy } from './fixtures/proxy.js';
import { connectHead, connectRaw, listenOn, readHead } from './fixtures/sockets.js';

const TUNNELS = 200;

t.test('200 CONNECTs at once are all served, and leave no descriptor behind', async (t) => {
  const peers = [await listenOn(t, '127.0.0.1'), await listenOn(t, '::1')] as const;
  for (const { server } of peers) {
    server.on('connection', (socket) => {
      socket.once('data', (question: Buffer) => socket.end(`you said ${question}`));
      socket.resume();
    });
  }
  const proxy = await startProxy(t, ['--allow', '127.0.0.0/8:*', '--allow', '[::1]/128:*']);
  const before = socketsOf(proxy.process);

  const answers = await Promise.all(
    Array.from({ length: TUNNELS }, async (_, number) => {
      const authority = number % 2 === 0 ? `127.0.0.1:${peers[0].port}` : `[::1]:${peers[1].port}`;
      const socket = await connectRaw(t, proxy);
      socket.write(connectHead(authority));
      const { status, headers } = await readHead(socket);
      // Nobody goes on before the last one has got this far: all of the tunnels are open at once.
      await all(status);
      socket.end(`number ${number}`);
      const { bytes, end } = await receiveAll(socket);
      return { tunnel: headers['spliceway-tunnel-id'], said: `${bytes}`, end };
    }),
  );
  for (const [number, { said, end }] of answers.entries()) {
    if (said !== `you said number ${number}` || end !== 'fin') t.fail(`${number}: ${said}, ${end}`);
  }
  t.equal(new Set(answers.map(({ tunnel }) => tunnel)).size, TUNNELS, 'each tunnel has an id of its own');

  await eventually(
    () => proxy.log.filter(({ event }) => event === 'close').length,
    (count) => count === TUNNELS,
  );
  t.equal(
    await eventually(
      () => socketsOf(proxy.process),
      (sockets) => sockets === before,
    ),
    before,
    'every descriptor is back',
  );
  t.equal(await proxy.metric('spliceway_requests_total{code="200",reason="established"}'), TUNNELS);
  t.equal(await proxy.metric('spliceway_tunnels_active{engine="splice"}'), 0);
});

const open: (() => void)[] = [];

/** Resolves when it has been called for every tunnel. */
async function all(status: number): Promise<void> {
  if (status !== 200) throw new Error(`answered with ${status}`);
  await new Promise<void>((resolve) => {
    open.push(resolve);
    if (open.length === TUNNELS) for (const go of open) go();
  });
}
