import t from 'tap';
import { migrationController } from './fixtures/lint.js';
import { runCli } from './fixtures/run-cli.js';

const SECRET = 'hunter2';

/** Values of stunnel_tcp_proxy with the password in it, and a word of what is wrong with each. */
const TRAPS: readonly (readonly [value: string, problem: RegExp])[] = [
  [`proxy.example:3128 # ${SECRET}@`, /rest of the line is a comment/],
  [`migration:${SECRET}@10.0.0.5:3128`, /without a proxy, silently|no scheme/],
  [`http://migration:${SECRET}@proxy.example`, /no port/],
  [`https://migration:${SECRET}@proxy.example:3128`, /scheme is ignored/],
  [`http://${SECRET}@proxy.example:3128`, /without a password/],
  [`http://:${SECRET}@proxy.example:3128`, /without a password, or the reverse/],
  [`http://u%3Av:${SECRET}@proxy.example:3128`, /colon in the user name/],
  [`http://u:12#${SECRET}@proxy.example:3128`, /ends the host/],
  [`http://u:${SECRET}/x@proxy.example:3128`, /ends the host/],
  [`http://u:${SECRET}%zz@proxy.example:3128`, /two hexadecimal digits/],
  [`http://u:${SECRET}<>@proxy.example:3128`, /no URL has/],
  [`'http://u:"${SECRET}@proxy.example:3128'`, /double quote/],
  [`http://u:${SECRET}%0Afoo@proxy.example:3128`, /control character/],
  [`http://u:${SECRET}%20@proxy.example:3128`, /blanks/],
  [`http://u:${SECRET}@[2001:db8::1]:3128`, /IPv6/],
  [`http://u:${SECRET}@proxy.example:99999`, /port is not a number/],
  [`"http://u:${SECRET}\\d@proxy.example:3128"`, /\(not-yaml\)/],
  [`@${SECRET}`, /\(not-yaml\)/],
  [`*${SECRET}`, /\(not-yaml\)/],
  [`http://u: ${SECRET}@proxy.example:3128`, /\(not-yaml\)/],
  [`"http://u:${SECRET}@proxy.example:3128`, /\(not-yaml\)/],
  [`{${SECRET}: a}`, /not a text/],
  [`<${SECRET}>`, /one of the documents|never filled in/],
];

const files = t.testdir(
  Object.fromEntries([
    ...TRAPS.map(([value], at) => [
      `trap-${at}`,
      migrationController(`spec:\n  stunnel_tcp_proxy: ${value}\n`),
    ]),
    ['key-0', migrationController(`spec:\n  stunnel_tcp_proxy:http://u:${SECRET}@h:1\n  ${SECRET}: 1\n`)],
    ['key-1', migrationController(`spec:\n  stunnel_tcp_proxi: http://u:${SECRET}@h:1\n`)],
    ['key-3', migrationController(`spec:\n  ${SECRET}: 1\n  ${SECRET}: 2\n`)],
    ['key-4', migrationController(`spec:\n  "http://u:${SECRET}@h":\n    stunnel_tcp_proxy: a\n`)],
    ['key-2', `${migrationController(`spec: {}\nstunnel_tcp_proxy: http://u:${SECRET}@h:1\n`)}`],
  ]),
);

t.test('every trap of stunnel_tcp_proxy is found, and the password is in none of the messages', async (t) => {
  const names = [...TRAPS.map((_, at) => `trap-${at}`), 'key-0', 'key-1', 'key-2', 'key-3', 'key-4'];
  const { code, stdout, stderr } = await runCli([
    'manifest',
    ...names.flatMap((name) => ['--lint', `${files}/${name}`]),
  ]);
  t.equal(code, 1);
  t.notMatch(stdout + stderr, SECRET);
  // All are the same object, which is a mistake of its own.
  const rows = stdout.split('\n').filter((line) => !line.includes('(duplicate-policy-name)'));
  for (const [at, [value, problem]] of TRAPS.entries()) {
    const row = rows.find((line) => line.includes(`/trap-${at}:`)) ?? '(nothing)';
    t.match(row, problem, value);
    t.match(row, /:7: |:8: /, 'in its line');
  }
  for (const name of ['key-0', 'key-1', 'key-2', 'key-3', 'key-4']) t.match(stdout, `/${name}:`);
});
