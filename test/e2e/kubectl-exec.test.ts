import { buffer, text } from 'node:stream/consumers';
import t from 'tap';

import { startApiServer } from '../fixtures/api-server.js';
import { POD } from '../fixtures/api-server-resources.js';
import { allWentThrough, FORMS, type Form, startKubectl, startProxyTo } from '../fixtures/kubectl.js';

for (const form of Object.keys(FORMS) as Form[]) {
  t.test(`kubectl exec over ${form} carries stdin, stdout, stderr and the exit code`, async (t) => {
    const server = await startApiServer(t);
    const proxy = await startProxyTo(t, server);
    const exec = (options: readonly string[], script: string) =>
      startKubectl(t, ['exec', ...options, POD, '--', 'sh', '-c', script], { server, proxy, form });

    const sent = Buffer.from(Array.from({ length: 100_000 }, (_, index) => index % 251));
    const copied = exec(['-i'], 'cat; echo complaint >&2; exit 7');
    copied.stdin.end(sent);
    t.ok(sent.equals(await buffer(copied.stdout)), 'what went into stdin came out of stdout');
    t.equal(await copied.stderr, 'complaint\ncommand terminated with exit code 7\n');
    t.equal(await copied.ended, 7);

    const silent = exec([], 'cat; echo "$((40 + 2))"');
    t.equal(await text(silent.stdout), '42\n', 'without -i the command has an empty stdin');
    t.equal(await silent.ended, 0);
    t.equal(await silent.stderr, '');

    const early = exec(['-i'], 'read line; echo "$line"; exit 3');
    early.stdin.write('first\nsecond\n');
    t.equal(await text(early.stdout), 'first\n', 'the command may end before its stdin does');
    t.equal(await early.ended, 3);

    t.same(
      server.upgrades,
      [0, 1, 2].map(() => ({ subresource: 'exec', protocol: FORMS[form].exec })),
    );
    await allWentThrough(t, { server, proxy });
  });
}

t.test('kubectl cannot reach the API server but through the proxy', async (t) => {
  const server = await startApiServer(t);
  const direct = startKubectl(t, ['exec', POD, '--', 'true'], { server });
  direct.stdout.resume();
  t.match(await direct.stderr, 'api.cluster.test');
  t.equal(await direct.ended, 1);
  t.equal(server.connections(), 0);

  const proxy = await startProxyTo(t, server, ['--deny', `*.cluster.test:${server.port}`]);
  const denied = startKubectl(t, ['exec', POD, '--', 'true'], { server, proxy });
  denied.stdout.resume();
  t.match(await denied.stderr, /destination_denied: api\.cluster\.test/, 'kubectl shows the reason');
  t.equal(await denied.ended, 1);
  t.equal(server.connections(), 0);
});
