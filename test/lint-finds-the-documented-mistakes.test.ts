import t from 'tap';
import { DOCUMENTED } from './fixtures/documented-examples.js';
import { runCli } from './fixtures/run-cli.js';

const directory = t.testdir(DOCUMENTED);
const files = Object.keys(DOCUMENTED).map((name) => `${directory}/${name}`);
const lints = files.flatMap((file) => ['--lint', file]);

t.test('the examples of the documents hold these mistakes, in these lines', async (t) => {
  const { code, stdout, stderr } = await runCli(['manifest', ...lints]);
  t.equal(code, 1);
  const rows = stdout.split('\n').filter((line) => /^\S/.test(line));
  const short = rows.map((row) => row.replace(/^.*\/([^/]+):(\d+): .*\(([a-z-]+)\)$/, '$1:$2 $3'));
  t.same(short, [
    'migration-controller.yaml:7 not-yaml',
    'migration-controller.yaml:8 proxy-url-example',
    'network-policies.yaml:6 selector-misses-pods',
    'network-policies.yaml:11 opens-everything',
    'network-policies.yaml:18 duplicate-policy-name',
    'network-policies.yaml:18 name-says-otherwise',
    'network-policies.yaml:20 selector-misses-pods',
    'network-policies.yaml:25 opens-everything',
    'egress-network-policy.yaml:5 placeholder-left',
    'egress-network-policy.yaml:9 cluster-instead-of-proxy',
    'egress-network-policy.yaml:10 deny-where-allow-is-meant',
    'squid.conf:1 placeholder-left',
    'squid.conf:1 placeholder-left',
    'squid.conf:1 placeholder-left',
    'squid.conf:1 connect-not-allowed',
    'squid.conf:1 squid-timeouts',
    'squid.conf:1 squid-timeouts',
    'squid.conf:4 one-route',
    'squid.conf:6 splice-after-bump',
  ]);
  t.equal(stderr, 'spliceway: 17 mistakes and 2 pieces of advice in 5 objects\n');
  t.equal(stdout.match(/^ {2}fix: \S/gm)?.length, rows.length, 'each has its fix');
});

t.test(
  'a finding is a line with file, line, object, problem and rule, and below it the fix to paste',
  async (t) => {
    const { stdout } = await runCli(['manifest', '--lint', `${directory}/network-policies.yaml`]);
    t.match(
      stdout,
      `${directory}/network-policies.yaml:20: NetworkPolicy allow-all-egress-from-rsync-pods: its podSelector misses the pods for block volumes (app: directvolumemigration-rsync-transfer-block) of MTC 1.8 (selector-misses-pods)
  fix: select by app alone (say which release it is with --mtc, if only one matters):
       podSelector:
         matchExpressions:
         - key: app
           operator: In
           values: [directvolumemigration-rsync-transfer, directvolumemigration-rsync-transfer-block]
`,
    );
    t.match(stdout, /:11: NetworkPolicy \S+: advice: it lets these pods connect to everywhere/);
  },
);

t.test('for a release that is named, only what it needs counts', async (t) => {
  const rules = async (...release: readonly string[]) => {
    const { stdout } = await runCli(['manifest', '--lint', `${directory}/network-policies.yaml`, ...release]);
    return (
      stdout
        .match(/^\S+:\d+: .*selector-misses-pods/gm)
        ?.map((line) => line.replace(/^.*:(\d+): .*/, '$1')) ?? []
    );
  };
  t.same(await rules('--mtc', '1.5'), ['6']);
  t.same(await rules('--mtc', '1.7'), []);
  t.same(await rules('--mtc', '1.8'), ['6', '20']);
});

t.test('once they are mended, nothing is found and the exit code is 0', async (t) => {
  const mended = t.testdir({
    'migration-controller.yaml': DOCUMENTED['migration-controller.yaml']
      .replace('  [...]\n', '')
      .replace('username:password@ip:port', 'migration:let-me-through@192.0.2.10:3128'),
    'network-policies.yaml': DOCUMENTED['network-policies.yaml']
      .replaceAll(
        /matchLabels:\n.*\n.*\n/g,
        'matchExpressions:\n    - {key: app, operator: In, values: [directvolumemigration-rsync-transfer, directvolumemigration-rsync-transfer-block]}\n',
      )
      .replace(/(---[\s\S]*)egress-from/, '$1ingress-to'),
    'egress-network-policy.yaml': DOCUMENTED['egress-network-policy.yaml']
      .replace('<namespace>', 'shop')
      .replace('<cidr_of_source_or_target_cluster>', '192.0.2.10/32')
      .replace('Deny', 'Allow'),
    'squid.conf': `acl dvmRoute dstdomain .apps.target.example
ssl_bump splice dvmRoute
${DOCUMENTED['squid.conf'].replace(/acl[\s\S]*/, '').replaceAll(/<(\w+)>/g, '/etc/squid/$1.pem')}
acl CONNECT method CONNECT
http_access allow CONNECT dvmRoute
read_timeout 12 hours
client_lifetime 30 days
`,
  });
  const argv = Object.keys(DOCUMENTED).flatMap((name) => ['--lint', `${mended}/${name}`]);
  const { code, stdout, stderr } = await runCli(['manifest', ...argv]);
  t.same(
    stdout.split('\n').filter((line) => /^\S/.test(line) && !line.includes('(opens-everything)')),
    [],
    'allowing everything is advice, and the exit code is that of no mistakes',
  );
  t.equal(stderr, 'spliceway: 2 pieces of advice in 5 objects\n');
  t.equal(code, 0);
});
