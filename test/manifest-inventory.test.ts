import { chmodSync, writeFileSync } from 'node:fs';
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
  writeFileSync(file, text, { mode: 0o600 });
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
  writeFileSync(file, text, { mode: 0o600 });
  t.equal(await printed(t, ['inventory', '--inventory', file]), text);
  t.match(text, /^drain-timeout: 500ms$/m);
  t.match(text, /^max-replicas: 1000$/m);
});

t.test('no password is invented for a Secret that is not printed', async (t) => {
  t.notMatch(await printed(t, ['proxy', '--without', 'Secret', '--client', '192.0.2.1']), /^kind: Secret$/m);
  const { code, stderr } = await runCli(['manifest', 'proxy', 'host', '--without', 'Secret', ...FLAGS]);
  t.equal(code, 64);
  t.match(stderr, '--password is missing');
});

t.test('every commented line is a parameter that is taken without the #', async (t) => {
  const text = (await printed(t, ['inventory'])).replace(/^#(?=[a-z-]+: )/gm, '');
  const file = `${t.testdir()}/migration.yaml`;
  writeFileSync(file, text, { mode: 0o600 });
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
    'password: hunter2\nproxy: http://migration:hunter2@proxy.example:3128\nsource-namespaces: [a]\nmtc: 2\ntargetApps: a.example\nmerge: [firewalls.yaml]\n',
  );
  const { code, stdout, stderr } = await runCli(['manifest', 'host', '--inventory', file]);
  t.equal(code, 64);
  t.equal(stdout, '');
  t.match(stderr, `${file}:2 proxy must be HOST:PORT alone`);
  t.match(stderr, `${file}:3 "source-namespaces" is not an option; did you mean source-namespace?`);
  t.match(stderr, `${file}:4 mtc "2" must be `);
  t.match(stderr, `${file}:5 "targetApps" is not an option; did you mean target-apps?`);
  t.match(stderr, `${file}:6 merge cannot stand in a file: give --merge on the command line`);
  t.notMatch(stderr, 'hunter2');
});

t.test('wrong parts are told', async (t) => {
  for (const [argv, message] of [
    [['sorce'], /"sorce" is not a part; did you mean source\?/],
    [['squid', 'source', ...FLAGS], /squid.*one at a time/],
    [['source', '--lint', '-'], /--lint prints no parts/],
    [
      ['--inventory', '/nowhere.yaml'],
      /\/nowhere\.yaml does not exist; spliceway manifest inventory writes one/,
    ],
    [['--inventory', '/'], /\/ is a directory: give a file in it/],
    [['-inventory', '/nowhere.yaml'], /^ {2}-inventory is not an option; did you mean --inventory\?$/m],
    [['--replicas', 'two'], /--replicas "two" must be a whole number from 1/],
    [['--password', ''], /--password is empty$/m],
    [['--replicas', '9'], /--max-replicas must not be less/],
  ] as const) {
    const { code, stdout, stderr } = await runCli(['manifest', ...argv]);
    t.equal(code, 64, argv[0]);
    t.equal(stdout, '');
    t.match(stderr, message);
  }
});

/** What is said on standard error while this is printed. */
async function said(argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
  const { code, stdout, stderr } = await runCli(['manifest', ...argv], { env });
  t.equal(code, 0, argv.join(' '));
  t.not(stdout, '');
  return stderr;
}

t.test('a variable that says something else than the inventory is told, by name alone', async (t) => {
  const file = `${t.testdir()}/migration.yaml`;
  writeFileSync(file, `password: ${'hunter2'.repeat(3)}\nproxy: proxy.example:3128\n`, { mode: 0o600 });
  const argv = ['host', '--inventory', file];
  t.equal(
    await said(argv, { SPLICEWAY_PASSWORD: 'of-another-proxy-altogether', SPLICEWAY_USERNAME: 'ann' }),
    `spliceway: the variable SPLICEWAY_PASSWORD wins over password in ${file}: unset it, or take the key out\n`,
  );
  t.equal(await said(argv, { SPLICEWAY_PASSWORD: 'hunter2'.repeat(3) }), '', 'the same is fine');
  t.equal(await said([...argv, '--proxy', 'b.example:1'], { SPLICEWAY_PROXY: 'c.example:1' }), '');
  t.match(
    await said(argv, { SPLICEWAY_MERGE: 'firewalls.yaml' }),
    'the variable SPLICEWAY_MERGE is ignored: give --merge on the command line',
  );
});

t.test('an inventory with a password that others may read is told, and how to mend it', async (t) => {
  const file = `${t.testdir()}/migration.yaml`;
  const text = 'proxy: proxy.example:3128\n';
  writeFileSync(file, `${text}password: ${'x'.repeat(16)}\n`);
  const says = `spliceway: others may read ${file}, which holds a password: chmod 600 ${file}\n`;
  for (const [mode, expected] of [
    [0o644, says],
    [0o640, says],
    [0o604, says],
    [0o600, ''],
  ] as const) {
    chmodSync(file, mode);
    t.equal(await said(['host', '--inventory', file]), expected, mode.toString(8));
  }
  writeFileSync(file, text);
  chmodSync(file, 0o644);
  const env = { SPLICEWAY_PASSWORD: 'x'.repeat(16) };
  t.equal(await said(['host', '--inventory', file], env), '', 'without a password everybody may');
});

t.test('what makes the proxy weak is told, and printed', async (t) => {
  const [long, short] = [{ SPLICEWAY_PASSWORD: 'x'.repeat(16) }, { SPLICEWAY_PASSWORD: 'x'.repeat(15) }];
  const guessed = /^spliceway: the password is shorter than 16 characters/m;
  t.equal(await said(['proxy', '--client', '192.0.2.1'], long), '');
  t.match(
    await said(['proxy'], long),
    /^spliceway: nobody is kept from the proxy .*: --client narrows it\n$/,
  );
  t.match(await said(['proxy'], short), guessed);
  t.match(await said(['host', '--proxy', 'proxy.example:3128'], short), guessed);
});
