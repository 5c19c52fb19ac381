import t from 'tap';

import { closedTunnels } from '../../src/commands/rehearsal/migration.js';
import { startStunnelClient } from '../../src/commands/rehearsal/parties.js';
import { probe, transfer } from '../../src/commands/rehearsal/transfer.js';
import { CLUSTERS_ROUTE_HOST, startClusters } from '../fixtures/e2e-clusters.js';

t.test('the phantoms of nc -z are told apart in the log, and nothing else is taken for one', async (t) => {
  const clusters = await startClusters(t);
  const { workspace, spliceway, router } = clusters;
  const client = await startStunnelClient(workspace, {
    ...clusters,
    ...clusters.pair,
    generation: '1.6',
    proxyPort: spliceway.port,
    target: `${CLUSTERS_ROUTE_HOST}:${router.port}`,
  });
  // Several, for either side may be the first to close: stunnel's server does so when it is told of the end.
  for (let nth = 1; nth <= 8; nth += 1) {
    await probe(workspace, client.port);
    await closedTunnels(workspace, spliceway, nth);
  }
  await transfer(workspace, { ...clusters, port: client.port });
  // Nothing to send, and refused at once: the two shortest conversations that rsync has.
  await transfer(workspace, { ...clusters, port: client.port });
  await t.rejects(transfer(workspace, { ...clusters, password: 'wrong', port: client.port }), {
    message: /^rsync ended with code/,
  });

  const tunnels = await closedTunnels(workspace, spliceway, 11);
  for (const { bytesUp, bytesDown, durationMs, ended } of tunnels) {
    t.comment(`up ${bytesUp}, down ${bytesDown}, ${durationMs} ms, ${ended}`);
  }
  t.same(
    tunnels.map((tunnel) => tunnel.probe),
    [...Array<boolean>(8).fill(true), false, false, false],
  );
  t.notMatch(await spliceway.child.log(), /"level":"(?:warn|error)"/, 'a probe is no failure');
});
