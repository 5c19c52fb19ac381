import t from 'tap';

import { linesOf } from '../fixtures/e2e-clusters.js';
import { checkMigration } from '../fixtures/e2e-migration.js';

t.test('a migration as crane configures it (TLS 1.3) arrives whole', async (t) => {
  const { stunnelClient } = await checkMigration(t, 'crane');
  const said = await linesOf(stunnelClient, /ciphersuite|Certificate accepted|needs authentication/);
  t.match(said, /TLSv1\.3 ciphersuite/);
  t.match(
    said,
    /Certificate accepted at depth=0: C=US, ST=NC, L=RDU, O=Migration Engineering/,
    'it is verified',
  );
});
