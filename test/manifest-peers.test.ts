import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import t from 'tap';
import { makeKeyPair } from '../src/commands/rehearsal/parties.js';
import { createWorkspace } from './fixtures/e2e-clusters.js';
import { printed, startPrinted } from './fixtures/printed-proxies.js';
import { runCli } from './fixtures/run-cli.js';

const APPS = ['--target-apps', 'apps.target.example'];
const EVERYTHING = [
  ...[...APPS, '--target-api', 'api.target.example:6443'],
  ...['--client', '192.0.2.0/24', '--client', '2001:db8::/32', '--proxy', 'proxy.example:8080'],
];
const LONG = 'n'.repeat(59);
// printf nnn… | md5sum
const LONG_MD5 = 'd2e2ba0a775ce3bc9a8bbcce32c55401';

/** Runs a program that checks a file, and resolves with all that it says. Rejects where it finds the file wrong. */
async function check(file: string, ...argv: readonly string[]): Promise<string> {
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` };
  const { stdout, stderr } = await promisify(execFile)(file, argv, { env });
  return `${stdout}${stderr}`;
}

function lines(text: string, pattern: RegExp): readonly string[] {
  return text.split('\n').filter((line) => pattern.test(line));
}

t.test('stunnel.conf: one for each Route, which the real stunnel takes', async (t) => {
  const workspace = await createWorkspace(t);
  const pair = await makeKeyPair(workspace);
  const shop = ['--source-namespace', 'shop', '--proxy', '127.0.0.1:8080'];
  for (const [release, accept, files] of [
    ['1.4', 'accept = 2222', 1],
    ['1.5', 'accept = localhost:2222', 1],
    ['1.8', 'accept = 6443', 2],
  ] as const) {
    const text = printed('stunnel', '--mtc', release, ...APPS, ...shop);
    const configurations = text.split(/(?=^# stunnel\.conf )/m);
    t.equal(configurations.length, files);
    t.same([...new Set(lines(text, /^accept/))], [accept]);
    t.same([...new Set(lines(text, /^connect/))], ['connect = 127.0.0.1:8080']);
    t.same(
      [...new Set(lines(text, /certs\//).map((line) => line.replace(/.*= /, '')))].sort(),
      ['/etc/stunnel/certs/ca.crt', '/etc/stunnel/certs/tls.crt', '/etc/stunnel/certs/tls.key'].slice(
        release === '1.8' ? 1 : 0,
      ),
    );
    for (const configuration of configurations)
      await startPrinted(workspace, [workspace.programs.stunnel], (port) =>
        configuration
          .replace(accept, `accept = 127.0.0.1:${port}`)
          .replaceAll(/\/etc\/stunnel\/certs\/(?:tls|ca)\.crt/g, pair.certificateFile)
          .replace('/etc/stunnel/certs/tls.key', pair.keyFile),
      );
  }
});

t.test('stunnel.conf: a namespace whose name is too long for a label is told by its MD5', async (t) => {
  const namespaces = ['--source-namespace', 'shop', '--source-namespace', LONG];
  t.same(lines(printed('stunnel', ...EVERYTHING, ...namespaces), /^protocolHost/), [
    'protocolHost = dvm-shop.apps.target.example:443',
    'protocolHost = dvm-block-shop.apps.target.example:443',
    `protocolHost = dvm-${LONG_MD5}.apps.target.example:443`,
    `protocolHost = dvm-block-${LONG_MD5}.apps.target.example:443`,
  ]);
});

t.test('stunnel.conf: the Routes are those of the namespaces that volumes arrive in', async (t) => {
  const argv = ['--mtc', '1.7', ...EVERYTHING, '--source-namespace', 'a', '--source-namespace', 'b'];
  t.same(
    lines(
      printed('stunnel', ...argv, '--target-namespace', 'c', '--target-namespace', 'd'),
      /^protocolHost|^# stunnel/,
    ),
    [
      '# stunnel.conf of the source pods in a (MTC 1.7), as MTC writes it: to compare, not to apply.',
      'protocolHost = dvm-c.apps.target.example:443',
      '# stunnel.conf of the source pods in b (MTC 1.7), as MTC writes it: to compare, not to apply.',
      'protocolHost = dvm-d.apps.target.example:443',
    ],
  );
  t.throws(() => printed('stunnel', ...argv, '--target-namespace', 'c'), {
    message: /one for each, in the same order/,
  });
});

t.test('squid.conf: the real Squid parses all of it, and what allows comes first', async (t) => {
  const text = printed('squid', ...EVERYTHING);
  const file = `${t.testdir({ 'squid.conf': `${text}visible_hostname squid.invalid\n` })}/squid.conf`;
  t.notMatch(await check('squid', '-k', 'parse', '-f', file), /WARNING|ERROR|FATAL/);
  t.same(lines(text, /^(?:http_port|acl|http_access|read_timeout|client_lifetime)/), [
    'http_port 8080 tcpkeepalive=60,30,3',
    'acl CONNECT method CONNECT',
    'acl users proxy_auth REQUIRED',
    'acl clients src 192.0.2.0/24 2001:db8::/32',
    'acl routes_hosts dstdom_regex -n -i ^dvm-[^.]+\\.apps\\.target\\.example$',
    'acl routes_port port 443',
    'acl api_hosts dstdomain -n api.target.example',
    'acl api_port port 6443',
    'http_access allow CONNECT clients routes_hosts routes_port users',
    'http_access allow CONNECT clients api_hosts api_port users',
    'http_access deny all',
    'read_timeout 12 hours',
    'client_lifetime 30 days',
  ]);
});

t.test('haproxy.cfg: the real HAProxy takes it, and the other use that its comment shows', async (t) => {
  const text = printed('haproxy', ...EVERYTHING);
  const other = lines(text, /^# {3}(?:frontend|backend| )/).map((line) => line.replace(/^# {3}/, ''));
  const defaults = /^defaults\n(?: .*\n)+/m.exec(text)?.[0].replace(/.*log-format.*\n/, '') ?? '';
  const directory = t.testdir({ 'all.cfg': text, 'front.cfg': `${defaults}${other.join('\n')}\n` });
  t.match(await check('haproxy', '-c', '-f', `${directory}/all.cfg`), 'Configuration file is valid');
  t.equal(other.length, 9);
  t.match(await check('haproxy', '-c', '-f', `${directory}/front.cfg`), 'Configuration file is valid');
  t.same(lines(text, /^ {2}(?:bind|server)|\bsrc\b/), [
    '  bind :443',
    '  tcp-request connection reject unless { src 192.0.2.0/24 2001:db8::/32 }',
    '  server routes dvm.apps.target.example:443 resolvers system init-addr last,libc,none',
    '  bind :6443',
    '  tcp-request connection reject unless { src 192.0.2.0/24 2001:db8::/32 }',
    '  server api api.target.example:6443 resolvers system init-addr last,libc,none',
  ]);
});

t.test('tinyproxy.conf: what it cannot hold is told instead of printed', async (t) => {
  t.same(lines(printed('tinyproxy', ...EVERYTHING), /^(?:Port|Allow|ConnectPort|Filter|Timeout)/), [
    'Port 8080',
    'Allow 192.0.2.0/24',
    'Allow 2001:db8::/32',
    'ConnectPort 443',
    'ConnectPort 6443',
    'Filter "/etc/tinyproxy/migration.filter"',
    'FilterType ere',
    'FilterDefaultDeny Yes',
    'Timeout 43200',
  ]);
  const env = { SPLICEWAY_PASSWORD: 'with/slash' };
  const { code, stdout, stderr } = await runCli(['manifest', 'tinyproxy', ...APPS], { env });
  t.same([code, stdout], [1, '']);
  t.match(stderr, /no password with other characters than letters/);
  t.notMatch(stderr, /with\/slash/);
});
