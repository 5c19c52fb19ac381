import { mkdir } from 'node:fs/promises';
import t from 'tap';
import { digestTree } from '../../src/commands/rehearsal/digest.js';
import {
  makeKeyPair,
  startRouter,
  startRsyncDaemon,
  startStunnelClient,
  startStunnelServer,
} from '../../src/commands/rehearsal/parties.js';
import { probe, transfer } from '../../src/commands/rehearsal/transfer.js';
import { generateTree } from '../../src/commands/rehearsal/tree.js';
import { SERVE, startContainer } from '../fixtures/container.js';
import { CLUSTERS_ROUTE_HOST, createWorkspace, linesOf } from '../fixtures/e2e-clusters.js';
import { PASSWORD, USER } from '../fixtures/proxy.js';

const SIZE_BYTES = 64 * 1024 * 1024;

t.test('rsync over stunnel goes through the container, and what arrives is what was sent', async (t) => {
  const workspace = await createWorkspace(t);
  const [source, destination] = [workspace.path('source'), workspace.path('destination')];
  await generateTree(source, { sizeBytes: SIZE_BYTES, files: 100, signal: workspace.signal });
  await mkdir(destination);
  const generation = '1.6';
  const volume = { module: 'volume', password: 'the-password-of-rsync' };

  const pair = await makeKeyPair(workspace);
  const { port: rsyncPort } = await startRsyncDaemon(workspace, { ...volume, directory: destination });
  const server = await startStunnelServer(workspace, { ...pair, generation, rsyncPort });
  const router = await startRouter(workspace, { routeHost: CLUSTERS_ROUTE_HOST, stunnelPort: server.port });
  const target = `${CLUSTERS_ROUTE_HOST}:${router.port}`;
  const container = await startContainer(t, {
    argv: [...SERVE, '--allow', target, '--allow', `127.0.0.0/8:${router.port}`],
  });
  const client = await startStunnelClient(workspace, {
    ...{ ...pair, generation, target, proxyPort: container.port },
    credentials: { username: USER, password: PASSWORD },
  });
  await probe(workspace, client.port);
  const seconds = await transfer(workspace, { ...volume, source, port: client.port });

  const [sent, arrived] = await Promise.all([
    digestTree(source, workspace.signal),
    digestTree(destination, workspace.signal),
  ]);
  t.equal(sent.contentBytes, SIZE_BYTES);
  t.equal(arrived.sha256, sent.sha256);
  t.equal(arrived.entries, sent.entries);
  t.comment(`${SIZE_BYTES / 1024 ** 2} MiB in ${seconds.toFixed(1)} s`);
  t.match(await linesOf(client, /<- HTTP/), '<- HTTP/1.1 200 Connection established');
  const close = await container.until(
    ({ event, bytesUp }) => event === 'close' && Number(bytesUp) > SIZE_BYTES / 2,
  );
  t.match(close, { user: USER, target, engine: 'splice' });
  t.equal(await container.end(), 0);
});
