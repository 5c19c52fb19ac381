import t from 'tap';
import { PARTS } from '../src/commands/manifests/parts.js';
import { printManifests } from '../src/commands/manifests/print.js';
import { TOOLKITS } from '../src/commands/mtc/toolkits.js';
import { loadConfig } from '../src/config/load.js';
import { MTC_RELEASES } from '../src/config/manifest-options.js';
import { MANIFEST } from '../src/config/tables.js';
import { ALONE, egressFirewall, egressNetworkPolicy, found } from './fixtures/lint.js';
import { range } from './fixtures/lint-policies.js';
import { runCli } from './fixtures/run-cli.js';

const OPTIONS = [
  ...['--proxy', 'proxy.example:3128', '--proxy-address', '192.0.2.10/32', '--password', 'let-me-through'],
  ...['--source-namespace', 'shop', '--source-namespace', 'web', '--dns-server', '192.0.2.53/32'],
  ...['--target-apps', 'apps.target.example', '--target-api', 'api.target.example:6443'],
  ...['--target-router', '203.0.113.10/32', '--client', '198.51.100.0/24'],
];

/** What those options say to lint. */
const GIVEN = {
  ...ALONE,
  proxy: { host: 'proxy.example', port: 3128 },
  proxyAddresses: [range('192.0.2.10')],
  dnsServers: [range('192.0.2.53')],
  targetRouters: [range('203.0.113.10')],
  sourceNamespaces: ['shop', 'web'],
};

/** The parts that there are rules for. */
const CHECKED = ['proxy', 'source', 'target', 'routes', 'host', 'squid'] as const;

/** What a part prints, with an object that exists already. */
function printed(part: (typeof CHECKED)[number], options: readonly string[], existing = ''): string {
  const { config } = loadConfig(MANIFEST, [...OPTIONS, ...options], {});
  const made = PARTS[part].make({
    ...config,
    version: '0',
    toolkit: TOOLKITS[config.mtc],
    existing: existing === '' ? [] : [{ path: 'existing', text: existing }],
  });
  return typeof made === 'string' ? made : printManifests(made);
}

for (const mtc of MTC_RELEASES) {
  t.test(`for MTC ${mtc}`, async (t) => {
    for (const network of ['ovn', 'sdn']) {
      for (const policies of ['least', 'allow-all']) {
        for (const part of CHECKED) {
          const text = printed(part, ['--mtc', mtc, '--network', network, '--policies', policies]);
          t.same(
            found(text, { ...GIVEN, mtc }).filter(
              (row) => policies === 'least' || !row.endsWith('opens-everything'),
            ),
            [],
            `${part} ${network} ${policies}`,
          );
        }
      }
    }
  });
}

t.test(
  'for the release that is the default, also where lint is told of none, and nothing else',
  async (t) => {
    for (const part of CHECKED) t.same(found(printed(part, [])), [], part);
  },
);

t.test('a firewall that blocks the proxy is mended by merging', async (t) => {
  const rules = `  - type: Allow
    to: {cidrSelector: 10.0.0.0/8}
  - type: Deny
    to: {cidrSelector: 0.0.0.0/0}
`;
  const firewalls = [
    ['ovn', egressFirewall(rules)],
    ['sdn', egressNetworkPolicy(rules)],
  ] as const;
  for (const [network, existing] of firewalls) {
    t.same(
      found(existing, GIVEN),
      ['8 firewall-blocks-migration', '8 firewall-blocks-migration'],
      'proxy, and DNS',
    );
    const merged = printed('source', ['--network', network], existing);
    t.match(merged, '10.0.0.0/8');
    t.same(found(merged, GIVEN), []);
  }
});

t.test('through a pipe', async (t) => {
  const { code, stdout } = await runCli(['manifest', 'host', ...OPTIONS]);
  t.equal(code, 0);
  const file = `${t.testdir({ file: stdout })}/file`;
  const lint = await runCli(['manifest', '--lint', file, ...OPTIONS]);
  t.same(lint, { ...lint, code: 0, stdout: '' });
});
