import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import t from 'tap';
import { parse } from 'yaml';
import { readProxyUrl } from '../src/commands/mtc/proxy-url.js';
import { runCli } from './fixtures/run-cli.js';

const PASSWORD = `p@:/?#%40 "\\'{{ä}}`;
const env = { SPLICEWAY_PASSWORD: PASSWORD };
const { stdout: printed } = await runCli(['manifest', 'host', '--proxy', 'proxy.example:3128'], { env });
const value = String(parse(printed).spec.stunnel_tcp_proxy);
const meant = { host: 'proxy.example', port: 3128, username: 'migration', password: PASSWORD };

t.test(
  'it is the one key of the MigrationController that exists, with the credentials as they are',
  async (t) => {
    t.same(parse(printed), {
      apiVersion: 'migration.openshift.io/v1alpha1',
      kind: 'MigrationController',
      metadata: { name: 'migration-controller', namespace: 'openshift-migration' },
      spec: { stunnel_tcp_proxy: value },
    });
    t.same(readProxyUrl(value), meant);
  },
);

t.test("the operator's ConfigMap says the same, with quotes and without", async (t) => {
  for (const line of [`STUNNEL_TCP_PROXY: "${value}"`, `STUNNEL_TCP_PROXY: ${value}`]) {
    t.equal(parse(line).STUNNEL_TCP_PROXY, value);
    // Ansible evaluates what it finds between these, also in what a variable holds.
    t.notMatch(line, /\{[{%#]/);
  }
});

t.test('the commands of its comment set the key and take it away, and leave the others', async (t) => {
  const existing = parse(printed);
  existing.spec = { mig_ui: true, stunnel_tcp_proxy: 'http://other:1' };
  const directory = t.testdir({ 'host.yaml': printed, 'existing.json': JSON.stringify(existing) });
  const commands = [...printed.matchAll(/^#\s+(oc patch .*)$/gm)].map(([, command = '']) =>
    command.replace(
      'oc patch migrationcontroller migration-controller -n openshift-migration',
      'kubectl patch --local -f existing.json -o json',
    ),
  );
  const results: unknown[] = [];
  for (const command of commands) {
    const { stdout } = await promisify(execFile)('sh', ['-c', command], { cwd: directory });
    results.push(JSON.parse(stdout).spec);
  }
  t.same(results, [
    { mig_ui: true, stunnel_tcp_proxy: value },
    { mig_ui: true, stunnel_tcp_proxy: '' },
  ]);
});

t.test('its comment says whose it is, who reads it when, and where the password shows', async (t) => {
  for (const said of [
    /For the host \(control\) cluster/,
    /from pods of the SOURCE cluster/,
    /kubectl apply --server-side --field-manager=spliceway -f -/,
    /restarts the controller, which reads it once/,
    /no NO_PROXY/,
    /ConfigMap of every source namespace/,
  ])
    t.match(printed.replace(/\n# /g, ' '), said);
});

t.test('what stunnel_tcp_proxy cannot say is told, and nothing is printed', async (t) => {
  const argv = ['manifest', 'host', '--proxy', '[2001:db8::1]:3128'];
  const { code, stdout, stderr } = await runCli(argv, { env });
  t.same([code, stdout], [1, '']);
  t.match(stderr, /stunnel_tcp_proxy cannot say --proxy .* IPv6 .* AAAA/);
  t.notMatch(stderr, PASSWORD);
});
