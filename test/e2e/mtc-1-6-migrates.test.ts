import t from 'tap';

import { linesOf } from '../fixtures/e2e-clusters.js';
import { checkMigration } from '../fixtures/e2e-migration.js';

t.test('a migration as MTC 1.6 and later configure it arrives whole', async (t) => {
  const { stunnelClient, seen } = await checkMigration(t, '1.6');
  const said = await linesOf(stunnelClient, /ciphersuite|Certificate accepted|needs authentication/);
  t.match(said, /TLSv1\.2 ciphersuite/);
  t.match(said, /Service \[rsync\] needs authentication/, 'it does not verify the certificate');
  const probes = seen.flatMap(({ tunnels }) => tunnels).filter((tunnel) => tunnel.probe);
  t.equal(probes.length, 1, 'nc -z is told apart');
  t.ok(Number(probes[0]?.bytesUp) < 1024, 'and it is not the tunnel of rsync');
});
