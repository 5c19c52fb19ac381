import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { CoreV1Api, Exec, KubeConfig, type V1Status, Watch } from '@kubernetes/client-node';
import t from 'tap';

import { startApiServer } from '../fixtures/api-server.js';
import { modified, NAMESPACE, POD, PODS_PATH } from '../fixtures/api-server-resources.js';
import { allWentThrough, FORMS, kubeconfig, proxyUrl, startProxyTo } from '../fixtures/kubectl.js';

t.test("@kubernetes/client-node goes through the proxy of the kubeconfig's proxy-url", async (t) => {
  const server = await startApiServer(t);
  const proxy = await startProxyTo(t, server);
  const config = new KubeConfig();
  config.loadFromString(kubeconfig(server, { 'proxy-url': proxyUrl(proxy) }));

  const { items } = await config.makeApiClient(CoreV1Api).listNamespacedPod({ namespace: NAMESPACE });
  t.same(
    items.map(({ metadata }) => metadata?.name),
    [POD],
  );

  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const output = Promise.all([text(stdout), text(stderr)]);
  const ended = new Promise<V1Status>((resolve, reject) => {
    const command = ['sh', '-c', 'tr a-z A-Z; echo complaint >&2; exit 7'];
    new Exec(config)
      .exec(NAMESPACE, POD, 'main', command, stdout, stderr, stdin, false, resolve)
      .then(() => stdin.end('shout\n'), reject);
  });
  t.match(await ended, {
    status: 'Failure',
    reason: 'NonZeroExitCode',
    details: { causes: [{ reason: 'ExitCode', message: '7' }] },
  });
  t.same(await output, ['SHOUT\n', 'complaint\n']);
  t.same(server.upgrades, [{ subresource: 'exec', protocol: FORMS.WebSocket.exec }]);

  const events: string[] = [];
  const done = new Promise<void>((resolve) => {
    new Watch(config).watch(
      PODS_PATH,
      {},
      (phase, { metadata }) => {
        events.push(`${phase} ${metadata.resourceVersion}`);
      },
      () => resolve(),
    );
  });
  const watch = await server.nextWatch();
  watch.write(modified(2));
  watch.end(modified(3));
  await done;
  t.same(events, ['MODIFIED 2', 'MODIFIED 3']);
  await allWentThrough(t, { server, proxy });
});
