import t from 'tap';

import { digestTree } from '../../src/commands/rehearsal/digest.js';
import { closedTunnels } from '../../src/commands/rehearsal/migration.js';
import { transfer } from '../../src/commands/rehearsal/transfer.js';
import { startClusters } from '../fixtures/e2e-clusters.js';

t.test('rsync itself, without stunnel, goes through with RSYNC_PROXY', async (t) => {
  const clusters = await startClusters(t);
  const { workspace, spliceway, daemon, credentials } = clusters;
  const host = 'rsync.target.localhost';
  const through = (password: string) => ({
    ...clusters,
    host,
    port: daemon.port,
    environment: { RSYNC_PROXY: `${credentials.username}:${password}@127.0.0.1:${spliceway.port}` },
  });

  await transfer(workspace, through(credentials.password));
  const { sha256 } = await digestTree(clusters.source, workspace.signal);
  t.equal(
    (await digestTree(clusters.destination, workspace.signal)).sha256,
    sha256,
    'what arrived is what was sent',
  );

  await t.rejects(transfer(workspace, through('wrong')), { message: /^rsync ended with code/ });
  const refusal = /bad response from proxy -- HTTP\/1\.[01] 407 credentials_rejected: \S/;
  t.match((await workspace.logs('rsync')).at(-1), refusal, 'rsync shows the reason');

  const [transferred, refused, ...more] = await closedTunnels(workspace, spliceway, 2);
  t.match(transferred, { decision: 'allowed', target: `${host}:${daemon.port}`, probe: false });
  t.match(refused, { decision: 'refused', reason: 'credentials_rejected' });
  t.same(more, []);
});
