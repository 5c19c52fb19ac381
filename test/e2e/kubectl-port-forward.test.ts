import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import t from 'tap';

import { startApiServer } from '../fixtures/api-server.js';
import { POD } from '../fixtures/api-server-resources.js';
import { allWentThrough, FORMS, type Form, startKubectl, startProxyTo } from '../fixtures/kubectl.js';
import { connectRaw, listenOn, readToEnd } from '../fixtures/sockets.js';

for (const form of Object.keys(FORMS) as Form[]) {
  t.test(`kubectl port-forward over ${form} carries some MiB there and back`, async (t) => {
    const server = await startApiServer(t);
    const proxy = await startProxyTo(t, server);
    const echo = await listenOn(t);
    const forwarding = startKubectl(t, ['port-forward', `pod/${POD}`, `:${echo.port}`], {
      server,
      proxy,
      form,
    });
    const port = await portOf(forwarding.stdout);

    // Two at once: each has a pair of streams of its own in the one connection.
    await Promise.all(
      [8, 4].map(async (mebibytes) => {
        const client = await connectRaw(t, { host: '127.0.0.1', port });
        const sent = randomBytes(mebibytes * 1024 * 1024);
        client.end(sent);
        const peer = await echo.next();
        peer.pipe(peer);
        const { bytes, end } = await readToEnd(client);
        t.ok(bytes.equals(sent), `${mebibytes} MiB came back`);
        t.equal(end, 'fin');
      }),
    );

    forwarding.process.kill('SIGINT');
    t.equal(await forwarding.ended, 0, await forwarding.stderr);
    t.same(server.upgrades, [{ subresource: 'portforward', protocol: FORMS[form].portforward }]);
    await allWentThrough(t, { server, proxy });
  });
}

/** `Forwarding from 127.0.0.1:40000 -> 80` */
async function portOf(stdout: NodeJS.ReadableStream): Promise<number> {
  for await (const line of createInterface({ input: stdout })) {
    const [, port] = /^Forwarding from 127\.0\.0\.1:([0-9]+) -> /.exec(line) ?? [];
    if (port !== undefined) return Number(port);
  }
  throw new Error('kubectl forwards nothing');
}
