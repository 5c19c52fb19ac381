import { writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { rowsOf } from '../src/config/table.js';
import { MANIFEST } from '../src/config/tables.js';
import { runCli } from './fixtures/run-cli.js';

const FLAGS = [
  ...['--proxy', 'proxy.example:3128', '--proxy-address', '192.0.2.10', '--proxy-address', '2001:db8::/64'],
  ...['--source-namespace', 'shop', '--source-namespace', 'blog', '--target-apps', 'apps.target.example'],
  ...['--target-router', '203.0.113.10', '--drain-timeout', '90m', '--replicas', '3', '--mtc', '1.5'],
];

const PASSWORD = "it's: #1 %";

async function printed(t: Test, argv: readonly string[], password = ''): Promise<string> {
  const { code, stdout, stderr } = await runCli(['manifest', ...argv], {
    env: { SPLICEWAY_PASSWORD: password },
  });
  t.equal(code, 0, argv.join(' '));
  t.equal(stderr, '');
  return stdout;
}

t.test('an inventory has every parameter, and a password of its own', async (t) => {
  const [one, other] = [await printed(t, ['inventory']), await printed(t, ['inventory'])];
  for (const [, { name, group }] of rowsOf(MANIFEST))
    t.equal(new RegExp(`^#?${name}: \\S`, 'm').test(one), group !== 'Modes', name);
  const passwordOf = (text: string) => /^password: ([0-9a-f]{32})$/m.exec(text)?.[1];
  t.ok(passwordOf(one));
  t.not(passwordOf(one), passwordOf(other));
});

t.test('what is given as flags is in the inventory, and means the same there', async (t) => {
  const text = await printed(t, ['inventory', ...FLAGS], PASSWORD);
  const file = `${t.testdir()}/migration.yaml`;
  writeFileSync(file, text);
  t.equal(await printed(t, ['inventory', '--inventory', file]), text, 'read back, it is the same');
  t.match(text, /^drain-timeout: 5400s$/m);
  t.match(text, /^proxy-address: \[192\.0\.2\.10\/32, 2001:db8::\/64\]$/m);
  for (const part of ['source', 'stunnel']) {
    const byFlags = await printed(t, [part, ...FLAGS], PASSWORD);
    t.equal(await printed(t, [part, '--inventory', file]), byFlags, part);
  }
});

t.test('addresses of IPv6, times and counts of any size come back from it', async (t) => {
  const flags = [
    ...['--proxy', '[2001:db8::1]:3128', '--target-api', '[2001:db8::2]:6443', '--proxy-address', '::/0'],
    ...['--drain-timeout', '500ms', '--max-replicas', '1000'],
  ];
  const text = await printed(t, ['inventory', ...flags], PASSWORD);
  const file = `${t.testdir()}/migration.yaml`;
  writeFileSync(file, text);
  t.equal(await printed(t, ['inventory', '--inventory', file]), text);
  t.match(text, /^drain-timeout: 500ms$/m);
  t.match(text, /^max-replicas: 1000$/m);
});

t.test('no password is invented for a Secret that is not printed', async (t) => {
  t.notMatch(await printed(t, ['proxy', '--without', 'Secret']), /^kind: Secret$/m);
  const { code, stderr } = await runCli(['manifest', 'proxy', 'host', '--without', 'Secret', ...FLAGS]);
  t.equal(code, 64);
  t.match(stderr, '--password is missing');
});

t.test('every commented line is a parameter that is taken without the #', async (t) => {
  const text = (await printed(t, ['inventory'])).replace(/^#(?=[a-z-]+: )/gm, '');
  const file = `${t.testdir()}/migration.yaml`;
  writeFileSync(file, text);
  t.match(await printed(t, ['host', '--inventory', file]), 'stunnel_tcp_proxy');
});

t.test('all that is missing is told at once, with what to write', async (t) => {
  const { code, stdout, stderr } = await runCli(['manifest', 'stunnel', 'source']);
  t.equal(code, 64);
  t.equal(stdout, '');
  for (const flag of ['--proxy', '--password', '--source-namespace', '--target-apps'])
    t.match(stderr, new RegExp(`^ {2}${flag} is missing: .{20}`, 'm'), flag);
});

t.test('what is wrong is told where it stands, and no password with it', async (t) => {
  const file = `${t.testdir()}/migration.yaml`;
  writeFileSync(
    file,
    'password: hunter2\nproxy: http://migration:hunter2@proxy.example:3128\nsource-namespaces: [a]\nmtc: 2\n',
  );
  const { code, stdout, stderr } = await runCli(['manifest', 'host', '--inventory', file]);
  t.equal(code, 64);
  t.equal(stdout, '');
  t.match(stderr, `${file}:2 proxy must be HOST:PORT alone`);
  t.match(stderr, `${file}:3 "source-namespaces" is not an option; did you mean source-namespace?`);
  t.match(stderr, `${file}:4 mtc "2" must be `);
  t.notMatch(stderr, 'hunter2');
});

t.test('wrong parts are told', async (t) => {
  for (const [argv, message] of [
    [['sorce'], /"sorce" is not a part; did you mean source\?/],
    [['squid', 'source', ...FLAGS], /squid.*one at a time/],
    [['source', '--lint', '-'], /--lint prints no parts/],
    [['--inventory', '/nowhere.yaml'], /\/nowhere\.yaml cannot be read/],
    [['--replicas', '9'], /--max-replicas must not be less/],
  ] as const) {
    const { code, stdout, stderr } = await runCli(['manifest', ...argv]);
    t.equal(code, 64, argv[0]);
    t.equal(stdout, '');
    t.match(stderr, message);
  }
});
