import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { reportLint } from '../src/commands/manifests/lint/report.js';
import { lint } from '../src/commands/manifests/lint.js';
import { ALONE, egressFirewall, found, migrationController, networkPolicy, squid } from './fixtures/lint.js';
import { CLI } from './fixtures/proxy.js';
import { runCli } from './fixtures/run-cli.js';

const BAD = egressFirewall('  - type: Allow\n    to: {dnsName: a.example}\n').replace('default', 'a');
const GOOD = egressFirewall('  - type: Allow\n    to: {dnsName: a.example}\n');
const OTHER = GOOD.replace('shop', 'other');
const KINDS =
  'NetworkPolicy, EgressFirewall, EgressNetworkPolicy, MigrationController and squid.conf are checked';

/** What is said of one file of this content. */
function lintFile(t: Test, content: string | Buffer) {
  const file = `${t.testdir({ file: content })}/file`;
  const { code, findings, said } = reportLint([file], ALONE);
  return { code, stdout: findings.replaceAll(file, 'FILE'), stderr: said.replaceAll(file, 'FILE') };
}

t.test('lists, JSON, and what kubectl prints, with the lines of each object', async (t) => {
  const list = `apiVersion: v1\nitems:\n${[OTHER, BAD].map((text) => text.trimEnd().replace(/^/gm, '  ').replace(/^ /, '-')).join('\n')}\nkind: List\n`;
  t.same(found(list), ['12 firewall-name']);
  const json = JSON.stringify({
    kind: 'EgressFirewallList',
    apiVersion: 'k8s.ovn.org/v1',
    items: [{ apiVersion: 'k8s.ovn.org/v1', metadata: { name: 'a' }, spec: { egress: [] } }],
  });
  t.same(found(json), ['1 firewall-name']);
  t.same(found(JSON.stringify(JSON.parse(json), null, 2)), ['8 firewall-name']);
  t.same(found(`\uFEFF---\n# a comment\n---\n${BAD.replaceAll('\n', '\r\n')}`), ['6 firewall-name']);
  t.same(
    found(
      `---\nx: &a {name: b}\n---\n${BAD.replace('{name: a', '&n {name: a').replace('spec', 'more: *n\nspec')}`,
    ),
    ['6 firewall-name'],
  );
});

t.test('a broken document is told with its line, and the others are read', async (t) => {
  const broken = migrationController('spec:\n  a: [1\n  b: 2\n');
  t.same(found(`${broken}---\n${BAD}`), ['8 not-yaml', '12 firewall-name']);
  t.same(found(`${BAD}---\nkind: "a\\d"\n`), ['3 firewall-name', '9 not-yaml']);
  t.same(found(migrationController('spec:\n  ...\n  version: 1\n')), ['7 not-yaml']);
  t.same(found(`${BAD}  more: ${'['.repeat(20_000)}`), ['8 not-yaml']);
  t.same(found(BAD.replace('Allow', '*none')), ['3 firewall-name', '6 not-yaml', '6 firewall-rule-shape']);
});

t.test('aliases of aliases, and nesting without end, are refused at once', async (t) => {
  const laughs = Array.from(
    { length: 30 },
    (_, at) => `a${at + 1}: &a${at + 1} [${`*a${at},`.repeat(10)}]\n`,
  ).join('');
  const nested = `kind: NetworkPolicy\nspec:\n${Array.from({ length: 1200 }, (_, at) => `${' '.repeat(at + 1)}a:\n`).join('')}`;
  for (const text of [
    `kind: NetworkPolicy\na0: &a0 a\n${laughs}`,
    nested,
    `kind: NetworkPolicy\na: ${'{b: '.repeat(5_000)}`,
  ]) {
    const { code, stdout, stderr } = lintFile(t, text);
    t.equal(code, 1);
    t.match(stdout, /^FILE:\d+: YAML: .*\(not-yaml\)\n {2}fix: /);
    t.equal(stderr, 'spliceway: 1 mistake in 0 objects\n');
  }
});

t.test('what is no manifest is told as that, with exit code 1', async (t) => {
  const none = `FILE holds no object of Kubernetes: ${KINDS}`;
  const cases: readonly (readonly [content: string | Buffer, said: string])[] = [
    ['', none],
    ['# nothing\n', none],
    ['defaults\n  mode tcp\nfrontend a\n  bind :443\n  use_backend b if { req.ssl_sni -i a }\n', none],
    ['# A readme\n\nIt is: about *this*.\n', none],
    [
      Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0, 1, 2]),
      'FILE is no text: give manifests in YAML or JSON, or a squid.conf',
    ],
    [Buffer.from('kind: \xff', 'latin1'), 'FILE is no text: give manifests in YAML or JSON, or a squid.conf'],
    [Buffer.from(`\ufeff${GOOD}`, 'utf16le'), 'FILE is in UTF-16, as PowerShell writes it: save it as UTF-8'],
  ];
  for (const [content, said] of cases) {
    const { code, stdout, stderr } = lintFile(t, content);
    t.equal(stderr, `spliceway: ${said}\n`);
    t.equal(stdout, '');
    t.equal(code, 1);
  }
});

t.test('objects of other kinds are no mistake, and said', async (t) => {
  const { code, stderr } = lintFile(
    t,
    'kind: Deployment\napiVersion: apps/v1\n---\nkind: Service\n---\nkind: Service\n',
  );
  t.equal(stderr, `spliceway: FILE holds nothing to check, only Deployment, Service: ${KINDS}\n`);
  t.equal(code, 0);
});

t.test('a list of nothing, and a kustomization that says no kind, are none either', async (t) => {
  const cases = [
    ['apiVersion: v1\nitems: []\nkind: List\n', 'List'],
    ['{"kind": "NetworkPolicyList", "apiVersion": "networking.k8s.io/v1", "items": []}', 'NetworkPolicyList'],
    ['resources:\n- a.yaml\n', 'Kustomization'],
  ] as const;
  for (const [content, kind] of cases) {
    const { code, stdout, stderr } = lintFile(t, content);
    t.equal(stderr, `spliceway: FILE holds nothing to check, only ${kind}: ${KINDS}\n`);
    t.equal(stdout, '');
    t.equal(code, 0);
  }
});

t.test('broken YAML is told as that, also where no kind is in it', async (t) => {
  for (const text of ['text: [not: yaml', '# comment\n\n---\na: "b\n', '{"a": [}'])
    t.match(found(text), [/^\d not-yaml$/], text);
});

t.test('clean files are one line, and exit code 0', async (t) => {
  const { code, stdout, stderr } = lintFile(t, `${GOOD}---\nkind: Deployment\n`);
  t.equal(stdout, '');
  t.equal(stderr, 'spliceway: nothing found in 1 object\n');
  t.equal(code, 0);
});

t.test('files that cannot be read do not keep the others from being read', async (t) => {
  const directory = t.testdir({ 'good.yaml': OTHER, 'bad.yaml': BAD });
  mkdirSync(`${directory}/folder`);
  const names = [
    'folder',
    'absent',
    'bad.yaml',
    'bad.yaml',
    'folder/../bad.yaml',
    './/bad.yaml',
    'good.yaml',
  ];
  const { code, findings, said } = reportLint(
    names.map((name) => `${directory}/${name}`),
    ALONE,
  );
  t.equal(
    said.replaceAll(`${directory}/`, ''),
    `spliceway: folder is a directory: give the files in it, as a shell writes them: --lint DIRECTORY/*.yaml
spliceway: absent does not exist
spliceway: 1 mistake in 2 objects
`,
  );
  t.match(findings, /^\S*bad\.yaml:3: EgressFirewall shop\/a: .*\n {2}fix: .*\n$/, 'once');
  t.equal(code, 1);
});

t.test('a file of the largest size is read, of a larger one not more than that', async (t) => {
  const padded = (bytes: number) => `${BAD}# `.padEnd(bytes, 'x');
  t.equal(lintFile(t, padded(4 << 20)).stderr, 'spliceway: 1 mistake in 1 object\n');
  t.match(
    lintFile(t, padded((4 << 20) + 1)).stderr,
    'FILE is larger than 4 MiB: take one namespace after the other',
  );
  t.match(reportLint(['/dev/zero'], ALONE), { said: '/dev/zero is larger than 4 MiB: ', code: 1 });
});

t.test('thousands of policies and firewalls are looked at in seconds', async (t) => {
  const texts = Array.from({ length: 1500 }, (_, at) =>
    [
      networkPolicy(`  podSelector: {}\n  policyTypes: [Egress]\n  egress: [{ports: [{port: ${at + 1}}]}]\n`),
      egressFirewall('  - {type: Deny, to: {cidrSelector: 0.0.0.0/0}}\n'),
    ]
      .join('---\n')
      .replaceAll('shop', `shop-${at}`),
  );
  const given = { ...ALONE, proxy: { host: '192.0.2.1', port: 3128 } };
  const { findings, checked } = lint([{ file: 'a', text: texts.join('---\n') }], given);
  t.equal(checked, 3000);
  t.equal(findings.length, 3000);
});

t.test('lists of thousands are looked up, not searched again for every line', async (t) => {
  const lists = Array.from(
    { length: 40_000 },
    (_, at) => `acl list${at} method GET\nhttp_access allow list${at}`,
  );
  const text = squid(lists.join('\n')).replace('http_access allow CONNECT\n', '');
  t.match(lint([{ file: 'a', text }], ALONE).findings, [{ rule: 'connect-not-allowed' }]);
});

t.test('standard input is read once, also from a pipe that is slow', async (t) => {
  const shell = `(sleep 0.1; cat) | "$0" "$1" manifest --lint - --lint -`;
  const { status, stdout, stderr } = spawnSync('bash', ['-c', shell, process.execPath, CLI], {
    input: BAD,
    encoding: 'utf8',
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  t.match(stdout, /^standard input:3: EgressFirewall shop\/a: .*\n {2}fix: .*\n$/);
  t.equal(stderr, 'spliceway: 1 mistake in 1 object\n');
  t.equal(status, 1);
});

t.test('a named pipe is read as well', async (t) => {
  const directory = t.testdir({});
  execFileSync('mkfifo', [`${directory}/pipe`]);
  const run = runCli(['manifest', '--lint', `${directory}/pipe`]);
  // Waits for the reader.
  writeFileSync(`${directory}/pipe`, BAD);
  t.equal((await run).code, 1);
});

t.test('mistakes of several files are found together, and squid.conf is told apart from YAML', async (t) => {
  const directory = t.testdir({
    'b.yaml': networkPolicy('  podSelector: {}\n'),
    'a.yaml': networkPolicy('  podSelector: {}\n  policyTypes: [Egress]\n'),
    squid: squid('ssl_bump bump all'),
  });
  const paths = ['b.yaml', 'squid', 'a.yaml'].map((name) => `${directory}/${name}`);
  const { findings } = reportLint(paths, ALONE);
  t.same(
    findings
      .replaceAll(`${directory}/`, '')
      .match(/^\S+|(?<=the NetworkPolicy in ).*(?= has)|\([a-z-]+\)$/gm),
    ['squid:1:', '(bumps-tunnels)', 'a.yaml:3:', 'b.yaml line 2', '(duplicate-policy-name)'],
  );
});

t.test('a terminal is not told what to do by names in a file', async (t) => {
  const { stdout } = lintFile(t, BAD.replace('name: a', 'name: "\\e[2J\\u202e\\n"'));
  t.match(stdout, 'EgressFirewall shop/\\u001b[2J\\u202e\\u000a: an EgressFirewall of any other name');
});

t.test('files may follow one another, as a shell writes them', async (t) => {
  const { code, stderr } = await runCli(['manifest', '--lint', '/nowhere/a.yaml', '/nowhere/b.yaml']);
  t.equal(code, 1);
  for (const name of ['a', 'b']) t.match(stderr, `/nowhere/${name}.yaml does not exist`);
});

t.test('with parts, it is wrong use', async (t) => {
  const { code, stderr } = await runCli(['manifest', 'proxy', '--lint', '/dev/null']);
  t.equal(code, 64);
  t.match(stderr, '--lint prints no parts: leave proxy out');
});
