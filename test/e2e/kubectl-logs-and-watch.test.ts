import { once } from 'node:events';
import { createInterface } from 'node:readline';
import t from 'tap';

import { startApiServer } from '../fixtures/api-server.js';
import { modified, POD } from '../fixtures/api-server-resources.js';
import { allWentThrough, startKubectl, startProxyTo } from '../fixtures/kubectl.js';

t.test('kubectl logs -f shows each line when it is written, and ends with the log', async (t) => {
  const server = await startApiServer(t);
  const proxy = await startProxyTo(t, server);
  const logs = startKubectl(t, ['logs', '-f', POD], { server, proxy });
  const lines = createInterface({ input: logs.stdout })[Symbol.asyncIterator]();
  const log = await server.nextLog();
  for (const line of ['first', 'second', 'third']) {
    log.write(`${line}\n`);
    t.equal((await lines.next()).value, line);
  }
  log.end('last, without a line end');
  t.equal((await lines.next()).value, 'last, without a line end');
  t.ok((await lines.next()).done);
  t.equal(await logs.ended, 0, await logs.stderr);
  await allWentThrough(t, { server, proxy });
});

t.test('kubectl get --watch shows each event when it happens', async (t) => {
  const server = await startApiServer(t);
  const proxy = await startProxyTo(t, server);
  const watching = startKubectl(t, ['get', 'pods', '--watch', '-o', VERSIONS], { server, proxy });
  const lines = createInterface({ input: watching.stdout })[Symbol.asyncIterator]();
  t.equal((await lines.next()).value, `${POD} 1`, 'the list');
  const watch = await server.nextWatch();
  for (const version of [2, 3, 4]) {
    watch.write(modified(version));
    t.equal((await lines.next()).value, `${POD} ${version}`);
  }

  const gone = once(watch, 'close');
  watching.process.kill('SIGINT');
  await gone;
  t.pass('the server hears that the client is gone');
  await watching.ended;
  await allWentThrough(t, { server, proxy });
});

/** A line for each pod or event: its name and its version. */
const VERSIONS = 'jsonpath={.metadata.name} {.metadata.resourceVersion}{"\\n"}';
