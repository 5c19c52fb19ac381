import t from 'tap';

import { closedTunnels } from '../../src/commands/rehearsal/migration.js';
import { startStunnelClient } from '../../src/commands/rehearsal/parties.js';
import { transfer } from '../../src/commands/rehearsal/transfer.js';
import { CLUSTERS_ROUTE_HOST, linesOf, startClusters } from '../fixtures/e2e-clusters.js';

t.test('a target that the policy denies is named in the log of stunnel', async (t) => {
  const clusters = await startClusters(t, { allow: ['dvm-b.apps.target.localhost:*', '127.0.0.0/8:1'] });
  const { workspace, spliceway, router } = clusters;
  const target = `${CLUSTERS_ROUTE_HOST}:${router.port}`;
  const client = await startStunnelClient(workspace, {
    ...clusters,
    ...clusters.pair,
    generation: '1.6',
    proxyPort: spliceway.port,
    target,
  });
  await t.rejects(transfer(workspace, { ...clusters, port: client.port }), {
    message: /^rsync ended with code/,
  });

  await client.child.untilLogged(/CONNECT request rejected/);
  const said = await linesOf(client, / <- |LOG3/);
  t.match(said, `<- HTTP/1.1 403 destination_denied: ${target}`, 'the reason, and what is denied');
  t.match(said, /<- Proxy-Status: spliceway; error=destination_denied/i);

  const [refused, ...more] = await closedTunnels(workspace, spliceway, 1);
  t.match(refused, { decision: 'refused', reason: 'destination_denied', target, user: 'migration' });
  t.same(more, []);
});
