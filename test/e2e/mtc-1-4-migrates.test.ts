import t from 'tap';

import { linesOf } from '../fixtures/e2e-clusters.js';
import { checkMigration } from '../fixtures/e2e-migration.js';

t.test('a migration as MTC 1.4 configures it arrives whole', async (t) => {
  const { stunnelClient } = await checkMigration(t, '1.4');
  const said = await linesOf(stunnelClient, /ciphersuite|Certificate accepted|needs authentication/);
  t.match(said, /TLSv1\.2 ciphersuite/);
  t.match(
    said,
    /Certificate accepted at depth=0: C=US, ST=NC, L=RDU, O=Migration Engineering/,
    'it is verified',
  );
});
