import t from 'tap';

import { closedTunnels } from '../../src/commands/rehearsal/migration.js';
import { startStunnelClient } from '../../src/commands/rehearsal/parties.js';
import { transfer } from '../../src/commands/rehearsal/transfer.js';
import { CLUSTERS_ROUTE_HOST, linesOf, startClusters } from '../fixtures/e2e-clusters.js';

t.test('a wrong proxy password is named in the log of stunnel, where the engineer looks', async (t) => {
  const clusters = await startClusters(t);
  const { workspace, spliceway, router } = clusters;
  const client = await startStunnelClient(workspace, {
    ...clusters.pair,
    generation: '1.6',
    proxyPort: spliceway.port,
    credentials: { username: clusters.credentials.username, password: 'not-the-password' },
    target: `${CLUSTERS_ROUTE_HOST}:${router.port}`,
  });
  await t.rejects(transfer(workspace, { ...clusters, port: client.port }), {
    message: /^rsync ended with code/,
  });

  await client.child.untilLogged(/CONNECT request rejected/);
  const said = await linesOf(client, / <- |LOG3/);
  t.match(said, /<- HTTP\/1\.1 407 credentials_rejected: \S/, 'the reason and words that explain it');
  t.match(said, /<- Proxy-Status: spliceway; error=credentials_rejected/i);

  const [refused, ...more] = await closedTunnels(workspace, spliceway, 1);
  t.match(refused, { decision: 'refused', reason: 'credentials_rejected' });
  t.same(more, []);
  const log = await spliceway.child.log();
  t.notMatch(log, 'not-the-password', 'neither the wrong password');
  t.notMatch(log, clusters.credentials.password, 'nor the right one is in the log');
});
