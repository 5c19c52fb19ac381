import { createHash, randomFillSync } from 'node:crypto';
import { createReadStream, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import t from 'tap';

import { startApiServer } from '../fixtures/api-server.js';
import { NAMESPACE, POD } from '../fixtures/api-server-resources.js';
import { allWentThrough, FORMS, type Form, startKubectl, startProxyTo } from '../fixtures/kubectl.js';

const SIZE_BYTES = 100 * 1024 * 1024;

for (const form of Object.keys(FORMS) as Form[]) {
  t.test(`kubectl cp over ${form} copies 100 MiB into the pod and out again`, async (t) => {
    const server = await startApiServer(t);
    const proxy = await startProxyTo(t, server);
    const [local, back] = [join(server.home, 'local'), join(server.home, 'back')];
    const content = randomFillSync(Buffer.allocUnsafe(SIZE_BYTES));
    const sum = createHash('sha256').update(content).digest('hex');
    writeFileSync(local, content);

    const inPod = join(server.directory, 'copy');
    for (const [from, to, file] of [
      [local, `${NAMESPACE}/${POD}:${inPod}`, inPod],
      [`${NAMESPACE}/${POD}:${inPod}`, back, back],
    ] as const) {
      const copying = startKubectl(t, ['cp', from, to], { server, proxy, form });
      copying.stdout.resume();
      t.equal(await copying.ended, 0, await copying.stderr);
      t.equal(await sha256(file), sum);
    }

    t.ok(server.upgrades.length >= 2);
    for (const upgrade of server.upgrades)
      t.same(upgrade, { subresource: 'exec', protocol: FORMS[form].exec });
    await allWentThrough(t, { server, proxy });
    const carried = (direction: 'bytesUp' | 'bytesDown') =>
      Math.max(...proxy.log.map((record) => Number(record[direction] ?? 0)));
    t.ok(carried('bytesUp') > SIZE_BYTES, 'all of it went up');
    t.ok(carried('bytesDown') > SIZE_BYTES, 'and down');
  });
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}
