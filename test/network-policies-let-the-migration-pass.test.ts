import t from 'tap';
import { MTC_RELEASES } from '../src/config/manifest-options.js';
import { createWorkspace } from './fixtures/e2e-clusters.js';
import { applied, compile } from './fixtures/enacted-policies.js';
import {
  at,
  checkFlows,
  DENY_ALL,
  type Flow,
  INHABITANTS,
  type Inhabitant,
  NAMESPACE,
  type Release,
  rulesOf,
  stunnelPort,
  WORLD,
} from './fixtures/migration-world.js';
import { openPodNetwork } from './fixtures/pod-network.js';
import { printManifest } from './fixtures/print-manifest.js';

const OPTIONS = ['--proxy', '10.9.0.10:3128', '--source-namespace', NAMESPACE, '--dns-server', '10.9.0.53'];

/** What a release needs, whatever the form of its policies. */
function needed(release: Release): readonly Flow[] {
  const port = stunnelPort(release);
  // Who speaks to the proxy: in 1.4 a pod of its own, which rsync's pods connect to; in 1.8 block volumes have others.
  const speakers: readonly Inhabitant[] = [
    release === '1.4' ? 'stunnel' : 'rsync',
    ...(release === '1.8' ? (['block'] as const) : []),
  ];
  const destinations: readonly Inhabitant[] = [
    'destination',
    ...(release === '1.8' ? (['destinationBlock'] as const) : []),
  ];
  return [
    ...(release === '1.4' ? [['rsync', at('stunnel', 2222)] as const] : []),
    ...speakers.flatMap((speaker): readonly Flow[] => [
      [speaker, at('proxy', 3128)],
      [speaker, at('dns', 5353, 'udp')],
      [speaker, at('dns', 5353)],
      [speaker, at('dns', 53, 'udp')],
      [speaker, at('nodeDns', 53, 'udp')],
      [speaker, at('nameServer', 53, 'udp')],
      [speaker, at('nameServer', 53)],
    ]),
    ...(['router', 'nodeRouter', 'oldRouter'] as const).flatMap((router) =>
      destinations.map((destination): Flow => [router, at(destination, port)]),
    ),
  ];
}

/** What policies must go on forbidding, whatever their form. */
function forbidden(release: Release): readonly Flow[] {
  const port = stunnelPort(release);
  return [
    ['web', at('proxy', 3128)],
    ['web', at('router', 443)],
    ['web', at('dns', 5353, 'udp')],
    ['rsync', at('web', 80)],
    ['rsync', at('web', port)],
    ['neighbour', at('web', 80)],
    ['router', at('database', port)],
    ['intruder', at('database', port)],
    ['outsider', at('database', 5432)],
    ['destination', at('proxy', 3128)],
    ['destination', at('outsider', 443)],
    ['destination', at('database', 5432)],
  ];
}

/** What the least of policies forbids besides, and the others allow. */
function least(release: Release): readonly Flow[] {
  const port = stunnelPort(release);
  return [
    ['rsync', at('proxy', 9128)],
    ['rsync', at('proxy', 3128, 'udp')],
    ['rsync', at('router', 443)],
    ['rsync', at('outsider', 3128)],
    ['rsync', at('api', 6443)],
    ['rsync', at('dns', 8080)],
    ['rsync', at('nodeDns', 8080)],
    ['rsync', at('nameServer', 443)],
    ...(release === '1.4'
      ? [['rsync', at('stunnel', 22)] as const, ['neighbour', at('stunnel', 2222)] as const]
      : []),
    ['router', at('destination', 22)],
    ['router', at('destination', port === 2222 ? 6443 : 2222)],
    ['nodeRouter', at('destination', 8080)],
    ['intruder', at('destination', port)],
    ['database', at('destination', port)],
    ['outsider', at('destination', port)],
    ['api', at('destination', port)],
  ];
}

const network = await openPodNetwork(await createWorkspace(t), INHABITANTS);

t.test('policies open what the migration needs where all is forbidden, and the rest stays so', async (t) => {
  const deny = applied(DENY_ALL);
  for (const release of MTC_RELEASES) {
    // The database cannot connect even where destinations take everybody: nobody has opened its own way out.
    const shut = [...forbidden(release), ['database', at('destination', stunnelPort(release))] as const];
    await network.enact(rulesOf(release, { source: deny, target: deny }));
    await checkFlows(t, network, `${release}, before`, {
      pass: [['neighbour', at('proxy', 3128)]],
      stop: needed(release),
    });
    for (const form of ['least', 'allow-all'] as const) {
      const argv = [...OPTIONS, '--mtc', release, '--policies', form];
      const source = applied(DENY_ALL, printManifest('source', argv));
      const target = applied(DENY_ALL, printManifest('target', argv));
      await network.enact(rulesOf(release, { source, target }));
      const more = least(release).filter(([from]) => from !== 'database');
      await checkFlows(t, network, `${release}, ${form}`, {
        pass: [...needed(release), ...(form === 'allow-all' ? more : [])],
        stop: [...shut, ...(form === 'allow-all' ? [] : more)],
      });
    }
  }
});

t.test('policies restrict one direction alone where nothing else does', async (t) => {
  const [source, target] = (['source', 'target'] as const).map((part) =>
    applied(printManifest(part, [...OPTIONS, '--mtc', '1.8'])),
  );
  await network.enact(rulesOf('1.8', { source: source ?? [], target: target ?? [] }));
  await checkFlows(t, network, 'out of the source, into the target', {
    pass: [
      ['web', at('rsync', 80)],
      ['destination', at('outsider', 443)],
      ['destinationBlock', at('database', 5432)],
    ],
    stop: [
      ['block', at('outsider', 443)],
      ['database', at('destination', 6443)],
    ],
  });
});

t.test('a proxy in the cluster of the source is found as its pods', async (t) => {
  const labels = {
    'app.kubernetes.io/name': 'spliceway',
    'app.kubernetes.io/instance': 'way',
    'app.kubernetes.io/component': 'proxy',
  };
  const argv = ['--namespace', 'tools', '--name', 'way', '--source-namespace', NAMESPACE];
  const policies = printManifest('source', [...argv, '--proxy', 'way.tools.svc:3128']);
  const pods = [
    { address: WORLD.rsync, namespace: NAMESPACE, labels: { app: 'directvolumemigration-rsync-transfer' } },
    { address: WORLD.proxy, namespace: 'tools', labels },
    { address: WORLD.web, namespace: 'tools', labels: { app: 'web' } },
    { address: WORLD.neighbour, namespace: 'other', labels },
  ];
  await network.enact(compile([{ pods, namespaces: {}, objects: applied(DENY_ALL, policies) }]));
  await checkFlows(t, network, 'and nobody else of its namespace', {
    pass: [['rsync', at('proxy', 3128)]],
    stop: [
      ['rsync', at('proxy', 9128)],
      ['rsync', at('web', 3128)],
      ['rsync', at('neighbour', 3128)],
    ],
  });
});

// As MTC's own documentation shows them, for the namespace of the tests: two objects of one name.
const DOCUMENTED = (['egress', 'ingress'] as const).map(
  (direction) => `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-all-egress-from-rsync-pods, namespace: ${NAMESPACE}}
spec:
  podSelector:
    matchLabels: {owner: directvolumemigration, app: directvolumemigration-rsync-transfer}
  ${direction}: [{}]
  policyTypes: [${direction === 'egress' ? 'Egress' : 'Ingress'}]
`,
);

t.test('what the documentation of MTC shows does not do', async (t) => {
  const [egress = '', ingress = ''] = DOCUMENTED;
  const withSource = async (release: Release, ...texts: readonly string[]): Promise<void> =>
    network.enact(rulesOf(release, { source: applied(DENY_ALL, ...texts), target: [] }));
  const proxy = at('proxy', 3128);

  await withSource('1.6', egress);
  await checkFlows(t, network, 'it is right for 1.6', { pass: [['rsync', proxy]], stop: [] });
  await withSource('1.5', egress);
  await checkFlows(t, network, 'source pods of 1.5 have no owner', { pass: [], stop: [['rsync', proxy]] });
  await withSource('1.4', egress);
  await checkFlows(t, network, "nor have rsync's of 1.4", {
    pass: [['stunnel', proxy]],
    stop: [['rsync', at('stunnel', 2222)]],
  });
  await withSource('1.8', egress);
  await checkFlows(t, network, 'block volumes of 1.8 have pods of another app', {
    pass: [['rsync', proxy]],
    stop: [['block', proxy]],
  });
  await withSource('1.6', egress, ingress);
  await checkFlows(t, network, 'both in one namespace: the second takes the place of the first', {
    pass: [],
    stop: [['rsync', proxy]],
  });
});
