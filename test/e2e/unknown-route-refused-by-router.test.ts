import t from 'tap';

import { closedTunnels } from '../../src/commands/rehearsal/migration.js';
import { startStunnelClient } from '../../src/commands/rehearsal/parties.js';
import { transfer } from '../../src/commands/rehearsal/transfer.js';
import { startClusters } from '../fixtures/e2e-clusters.js';

t.test('the router chooses by the SNI that came through the tunnel', async (t) => {
  const clusters = await startClusters(t);
  const { workspace, spliceway, router } = clusters;
  const client = await startStunnelClient(workspace, {
    ...clusters,
    ...clusters.pair,
    generation: '1.6',
    proxyPort: spliceway.port,
    target: `dvm-unknown.apps.target.localhost:${router.port}`,
  });
  await t.rejects(transfer(workspace, { ...clusters, port: client.port }), {
    message: /^rsync ended with code/,
  });

  await router.child.untilLogged(/sni=dvm-unknown\.apps\.target\.localhost -> be_no_sni/);
  const [tunnel, ...more] = await closedTunnels(workspace, spliceway, 1);
  t.match(
    tunnel,
    { decision: 'allowed', reason: undefined, closed: true },
    'spliceway had nothing against it',
  );
  t.same(more, []);
});
