import { mkdir } from 'node:fs/promises';

import t, { type Test } from 'tap';
import {
  CLUSTER_PORTS,
  routerConfiguration,
  stunnelClientConfiguration,
  stunnelServerConfiguration,
} from '../../src/commands/mtc/configurations.js';
import { TOOLKITS } from '../../src/commands/mtc/toolkits.js';
import { digestTree } from '../../src/commands/rehearsal/digest.js';
import { closedTunnels } from '../../src/commands/rehearsal/migration.js';
import { makeKeyPair, startRsyncDaemon, startSpliceway } from '../../src/commands/rehearsal/parties.js';
import { transfer } from '../../src/commands/rehearsal/transfer.js';
import { generateTree } from '../../src/commands/rehearsal/tree.js';
import { createWorkspace } from '../fixtures/e2e-clusters.js';
import { applied } from '../fixtures/enacted-policies.js';
import {
  DENY_ALL,
  INHABITANTS,
  type Inhabitant,
  NAMESPACE,
  type Release,
  rulesOf,
  WORLD,
} from '../fixtures/migration-world.js';
import { openPodNetwork } from '../fixtures/pod-network.js';
import { printManifest } from '../fixtures/print-manifest.js';

const ROUTE = 'dvm-shop.apps.target.test';
const DENY_OUTSIDE = `apiVersion: k8s.ovn.org/v1
kind: EgressFirewall
metadata: {name: default, namespace: ${NAMESPACE}}
spec: {egress: [{type: Deny, to: {cidrSelector: 0.0.0.0/0}}]}
`;

// Most of the time they wait for refused connections to be tried again.
t.jobs = 2;
for (const release of ['1.4', '1.8'] as const) {
  t.test(`MTC ${release} migrates between forbidding clusters, once both let it`, (t) =>
    checkRelease(t, release),
  );
}

/** Everybody of a migration in a pod of his own: rsync (with stunnel, or without), spliceway, the router, the destination. */
async function checkRelease(t: Test, release: Release): Promise<void> {
  const { generation, sourceStunnel } = TOOLKITS[release];
  const ports = CLUSTER_PORTS[generation];
  const workspace = await createWorkspace(t);
  const network = await openPodNetwork(
    workspace,
    INHABITANTS.map((host) => (host.name === 'proxy' ? { ...host, names: { [ROUTE]: WORLD.router } } : host)),
  );
  const at = (name: Inhabitant) => network.at(name);
  const [source, destination] = [workspace.path('source'), workspace.path('destination')];
  const [module, password] = ['volume', 'the-password-of-rsync'];
  const credentials = { username: 'migration', password: 'the-password-of-the-proxy' };
  await generateTree(source, { sizeBytes: 512 * 1024, files: 10, signal: workspace.signal });
  await mkdir(destination);

  const pair = await makeKeyPair(workspace);
  await startRsyncDaemon(at('destination'), { module, directory: destination, password, generation });
  const serverFile = await workspace.write(
    'server.conf',
    stunnelServerConfiguration({
      ...{ ...pair, generation },
      ...{ accept: `0.0.0.0:${ports.stunnel}`, connect: `127.0.0.1:${ports.rsync}` },
    }),
  );
  const server = await at('destination').start('server', workspace.programs.stunnel, [serverFile]);
  const routerFile = await workspace.write(
    'router.cfg',
    routerConfiguration({
      ...{ address: WORLD.router, port: 443, routeHost: ROUTE },
      backend: `${WORLD.destination}:${ports.stunnel}`,
    }),
  );
  const router = await at('router').start('router', workspace.programs.haproxy, ['-db', '-f', routerFile]);
  const spliceway = await startSpliceway(at('proxy'), { credentials, allow: [`${ROUTE}:443`] });
  const listener = sourceStunnel === 'pod' ? 'stunnel' : 'rsync';
  const host = sourceStunnel === 'pod' ? WORLD.stunnel : '127.0.0.1';
  const clientFile = await workspace.write(
    'client.conf',
    stunnelClientConfiguration({
      ...{ ...pair, ...credentials, generation, accept: `${host}:${ports.stunnel}` },
      ...{ proxy: `${WORLD.proxy}:3128`, target: `${ROUTE}:443` },
    }),
  );
  const client = await at(listener).start('client', workspace.programs.stunnel, [clientFile]);
  await Promise.all([
    ...[server.untilListening(ports.stunnel), router.untilListening(443)],
    client.untilListening(ports.stunnel),
  ]);
  const migrate = (): Promise<unknown> =>
    transfer(at('rsync'), { source, module, password, host, port: ports.stunnel }).then(
      () => 'done',
      (error: unknown) => String(error),
    );

  const directory = t.testdir({ 'firewall.yaml': DENY_OUTSIDE });
  const options = ['--mtc', release, '--proxy', `${WORLD.proxy}:3128`, '--source-namespace', NAMESPACE];
  const fromSource = printManifest('source', [...options, '--merge', `${directory}/firewall.yaml`]);
  const forbidding = applied(DENY_ALL, DENY_OUTSIDE);
  const opened = applied(DENY_ALL, DENY_OUTSIDE, fromSource);

  await network.enact(rulesOf(release, { source: forbidding, target: forbidding }));
  t.match(await migrate(), /RehearsalFailure: rsync ended with code/, 'as both clusters are');
  t.same(await closedTunnels(workspace, spliceway, 0), [], 'nothing gets to the proxy');

  // Once is enough: the router tries it four times.
  const halfway = release === '1.8';
  if (halfway) {
    await network.enact(rulesOf(release, { source: opened, target: forbidding }));
    t.match(await migrate(), /RehearsalFailure: rsync ended with code/, 'the source alone is open');
    t.match(await closedTunnels(workspace, spliceway, 1), [{ decision: 'allowed', bytesDown: 0 }]);
  }

  const target = applied(DENY_ALL, printManifest('target', options));
  await network.enact(rulesOf(release, { source: opened, target }));
  t.equal(await migrate(), 'done', 'both are open');
  const [before, after] = [
    await digestTree(source, workspace.signal),
    await digestTree(destination, workspace.signal),
  ];
  t.equal(after.sha256, before.sha256, 'what arrived is what was sent');
  const tunnels = await closedTunnels(workspace, spliceway, halfway ? 2 : 1);
  t.match(tunnels.at(-1), { decision: 'allowed', target: `${ROUTE}:443` });
}
