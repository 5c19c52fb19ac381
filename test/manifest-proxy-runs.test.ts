import { join } from 'node:path';
import type { Deployment } from 'kubernetes-types/apps/v1.js';
import type { PodSpec } from 'kubernetes-types/core/v1.js';
import t from 'tap';
import { loadConfig } from '../src/config/load.js';
import { credentialsOf } from '../src/config/options.js';
import { SERVE } from '../src/config/tables.js';
import { knowing } from './fixtures/api-server.js';
import { MANIFEST_PASSWORD, proxyManifests } from './fixtures/manifests.js';
import { startProxy } from './fixtures/proxy.js';
import { exchange, listenOn } from './fixtures/sockets.js';

const TARGET = ['--target-apps', 'apps.target.test', '--target-api', 'api.target.test:6443'];

/** Everything that a pod of these manifests has in its environment, and the pod. */
function podOf(options: readonly string[]): { readonly env: Record<string, string>; readonly spec: PodSpec } {
  const { one } = proxyManifests(options);
  const secret = Object.entries(one('Secret').data as Record<string, string>).map(
    ([key, value]) => [key, Buffer.from(value, 'base64').toString()] as const,
  );
  const deployment = one('Deployment') as unknown as Deployment;
  return {
    env: { ...(one('ConfigMap').data as Record<string, string>), ...Object.fromEntries(secret) },
    spec: deployment.spec?.template.spec as PodSpec,
  };
}

t.test('a proxy with the environment of the pod lets the migration through and nothing else', async (t) => {
  const { env, spec } = podOf(TARGET);
  const router = await listenOn(t, '10.77.0.2', 443);
  const hosts =
    '10.77.0.2 dvm-a.apps.target.test dvm-block-a.apps.target.test shop.apps.target.test api.target.test\n';
  const hostsFile = join(t.testdir({ hosts }), 'hosts');
  // Only the ports are others.
  const proxy = await startProxy(t, ['--listen', '[::]:0', '--admin', '[::]:0'], {
    env,
    withoutUser: true,
    under: knowing({ hostsFile }),
  });
  t.same(
    proxy.log.filter(({ level }) => level !== 'info'),
    [],
    'every variable is an option',
  );
  const credentials = Buffer.from(`migration:${MANIFEST_PASSWORD}`).toString('base64');
  const connect = (authority: string, host = '127.0.0.1') =>
    exchange(
      t,
      { ...proxy, host },
      `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\nProxy-Authorization: basic ${credentials}\r\n\r\n`,
    );
  for (const host of ['127.0.0.1', '::1'])
    t.equal((await connect('dvm-a.apps.target.test:443', host)).status, 200, `from ${host}`);
  await router.next();
  t.equal((await connect('dvm-block-a.apps.target.test:443')).status, 200);
  t.match(
    (await connect('api.target.test:6443')).phrase,
    'connection_refused',
    'the API server is allowed, and only absent here',
  );
  for (const other of [
    'shop.apps.target.test:443',
    'dvm-a.apps.target.test:6443',
    'dvm-a.apps.target.test:22',
    'x.dvm-a.apps.target.test:443',
    'api.target.test:443',
    '10.77.0.2:443',
  ])
    t.match((await connect(other)).phrase, 'destination_denied', other);
  const wrong = await exchange(
    t,
    { ...proxy, host: '127.0.0.1' },
    'CONNECT dvm-a.apps.target.test:443 HTTP/1.1\r\nHost: dvm-a.apps.target.test:443\r\n\r\n',
  );
  t.equal(wrong.status, 407);

  const [container] = spec.containers;
  t.same(container?.args, ['serve']);
  for (const probe of [container?.startupProbe, container?.livenessProbe, container?.readinessProbe])
    t.equal((await proxy.page(probe?.httpGet?.path ?? '')).status, 200);
  const { endpoints } = proxyManifests([]).one('ServiceMonitor').spec as {
    readonly endpoints: readonly { readonly path: string }[];
  };
  t.match((await proxy.page(endpoints[0]?.path ?? '')).body, 'spliceway_tunnels_total');
});

t.test('the ports of the pod are those that its options open, in both families', async (t) => {
  const { env, spec } = podOf(TARGET);
  const { config, warnings } = loadConfig(SERVE, [], env);
  t.same(warnings, []);
  t.same(credentialsOf(config), [{ name: 'migration', password: MANIFEST_PASSWORD }]);
  const [proxy, admin] = spec.containers[0]?.ports ?? [];
  t.same(config.listen, [{ host: '::', port: proxy?.containerPort }]);
  t.same(config.admin, { host: '::', port: admin?.containerPort });
  t.equal(config.logFormat, 'json');
});

t.test('a pod that drains counts as ready for as long as it accepts', async (t) => {
  const { env, spec } = podOf([]);
  const { periodSeconds = 0, failureThreshold = 0 } = spec.containers[0]?.readinessProbe ?? {};
  const { drainWindow } = loadConfig(SERVE, [], env).config;
  // The first probe that fails may come at once.
  t.ok(periodSeconds * (failureThreshold - 1) * 1000 >= drainWindow);
});

t.test('a pod has more time to end than its drain takes', async (t) => {
  for (const [written, ms] of [
    [undefined, 3_600_000],
    ['0', 0],
    ['1500ms', 1500],
    ['90m', 5_400_000],
    ['1d2h3m4s5ms', 93_784_005],
    ['24d', 2_073_600_000],
  ] as const) {
    const { env, spec } = podOf(written === undefined ? [] : ['--drain-timeout', written]);
    const { drainTimeout, drainWindow } = loadConfig(SERVE, [], env).config;
    t.equal(drainTimeout, ms);
    t.ok(drainWindow > 0);
    const spareMs = (spec.terminationGracePeriodSeconds ?? 0) * 1000 - drainTimeout - drainWindow;
    t.ok(spareMs >= 30_000 && spareMs < 31_000, `${spareMs} ms are left to cut and account`);
  }
});

t.test('where nothing is known of the target there are no rules, and the comment says so', async (t) => {
  const rules = (options: readonly string[]) => {
    const { env } = podOf(options);
    const { comments, objects } = proxyManifests(options);
    return {
      allow: env.SPLICEWAY_ALLOW,
      comment: comments[objects.findIndex(({ kind }) => kind === 'ConfigMap')],
    };
  };
  t.match(rules([]), { allow: undefined, comment: 'there is no SPLICEWAY_ALLOW' });
  t.match(rules(TARGET.slice(0, 2)), {
    allow: 'dvm-*.apps.target.test:443',
    comment: 'for want of --target-api',
  });
  t.match(rules(TARGET.slice(2)), { allow: 'api.target.test:6443', comment: 'for want of --target-apps' });
  t.match(rules(['--target-api', '[2001:db8::1]:6443']), { allow: '[2001:db8::1]:6443' });
  for (const options of [[], TARGET, ['--target-api', '[2001:db8::1]:6443']])
    t.doesNotThrow(() => loadConfig(SERVE, [], podOf(options).env));
});
