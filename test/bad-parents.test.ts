import t from 'tap';
import { loadConfig } from '../src/config/load.js';
import { SERVE } from '../src/config/tables.js';
import { parseWays } from '../src/upstream/parent.js';
import { runCli } from './fixtures/run-cli.js';

/** Words of the problem of each value; `needle` may stand anywhere in a value, and never in a message. */
const PROBLEMS: readonly (readonly [value: string, words: string | RegExp])[] = [
  ['', 'is none of direct, env, '],
  ['needle', 'is none of direct, env, '],
  ['p.example:3128', 'has no scheme: write http://HOST:PORT; it is none of direct, env, '],
  ['needle.example:3128', 'is none of'],
  ['ftp://needle:1', 'is none of'],
  ['socks://needle', 'is none of'],
  ['user:needle@p.example:1', 'is none of'],
  ['http://p.example', 'has no port'],
  ['https://p.example/', 'has no port'],
  ['http://p.example:', 'has a port that is not from 1 to 65535'],
  ['http://p.example:0', 'has a port that is not from 1 to 65535'],
  ['http://p.example:65536', 'has a port that is not from 1 to 65535'],
  ['http://p.example:03128', 'has a port that is not from 1 to 65535'],
  ['http://p.example:x', 'has no host:port'],
  ['http://:3128', 'has a host that is neither a name nor an address'],
  ['http://p_\u00fc:3128', 'has a host that is neither a name nor an address'],
  ['http://127.1:3128', 'has a host that is neither a name nor an address'],
  ['http://2001:db8::1:3128', 'has no host:port, IPv6 in brackets'],
  ['http://[::1%lo]:3128', 'has a host that is neither a name nor an address'],
  ['http://p.example:3128/needle', 'has something behind its host and port'],
  ['http://p.example:3128?needle', 'has something behind its host and port'],
  ['http://p.example:3128#needle', 'has something behind its host and port'],
  ['http://user:nee/dle@p.example:3128', 'has something behind its host and port'],
  ['http://user@p.example:3128', 'has credentials that are not user:password'],
  ['http://@p.example:3128', 'has credentials that are not user:password'],
  ['http://:needle@p.example:3128', 'has credentials that are not user:password'],
  ['http://user:needle%@p.example:3128', 'has credentials that do not decode'],
  ['http://user:needle%ff@p.example:3128', 'has credentials that do not decode'],
  ['http://user:nee:dle@p.example:3128', 'has a colon too many before its @'],
  ['http://us%3Aer:needle@p.example:3128', 'has a colon in its user name'],
  ['http://user:needle%0d%0aX@p.example:3128', 'has a control character in its credentials'],
  ['socks4://user:needle@p.example', 'has a password, which SOCKS 4 does not know'],
  [`socks5h://user:${'needle'.repeat(43)}@p.example`, 'has a user name or password of more than 255 bytes'],
  ['pac+ftp://needle/a', 'is not pac+file:///PATH'],
  ['pac+http:needle', 'is not pac+file:///PATH'],
  ['pac+file://needle/a', 'is not pac+file:///PATH'],
  ['pac+', 'is not pac+file:///PATH'],
  ['direct,needle', 'has a mistake: the second of its ways is none of'],
  ['direct,', 'has a mistake: the second of its ways is none of'],
  [
    'http://user:nee,dle@p.example:3128',
    'has a mistake: the first of its ways has no host:port, IPv6 in brackets; write %2C',
  ],
  ['needle:x:y=direct', 'has something before = that is not a rule'],
  ['=direct', 'has something before = that is not a rule'],
  ['10.0.0.1/8=direct', 'has something before = that is not a rule'],
];

/** The problems of options, in process. */
function problemsOf(argv: readonly string[]): readonly string[] {
  try {
    loadConfig(SERVE, argv, {});
    return [];
  } catch (error) {
    if (error instanceof Error && 'problems' in error) return error.problems as readonly string[];
    throw error;
  }
}

t.test('each bad --parent is told by what is wrong with it, never by its text', (t) => {
  for (const [value, words] of PROBLEMS) {
    const problems = problemsOf([`--parent=${value}`]);
    if (!t.equal(problems.length, 1, value)) continue;
    t.match(problems[0], words, value);
    t.match(problems[0], /^--parent /);
    t.notMatch(problems[0], 'needle');
  }
  t.end();
});

t.test('all of them are told at once with exit code 64, wherever they were written', async (t) => {
  const directory = t.testdir({ 'options.yaml': 'parent:\n  - direct\n  - http://user:needle@p\n' });
  const file = await runCli(['serve', '--config', `${directory}/options.yaml`, '--idle-timeout', 'soon']);
  t.equal(file.code, 64);
  t.match(file.stderr, `${directory}/options.yaml:1 parent has no port: write host:port`);
  t.match(file.stderr, '--idle-timeout "soon"');
  t.notMatch(file.stderr, 'needle');
  const variable = await runCli(['serve'], {
    env: { SPLICEWAY_PARENT: 'direct http://user:needle@p *.a=needle' },
  });
  t.equal(variable.code, 64);
  t.match(
    variable.stderr,
    /2 problems(?:.|\n)*SPLICEWAY_PARENT has no port(?:.|\n)*SPLICEWAY_PARENT is none of/,
  );
  t.notMatch(variable.stderr, 'needle');
});

t.test('what is right is read as it is meant', (t) => {
  const [parent] = parseWays('HTTP://us%20er:p%40ss%3A%2C@P.Example.:3128/') as readonly unknown[];
  t.match(parent, {
    scheme: 'http',
    name: 'http://p.example:3128',
    credentials: { user: 'us er', password: 'p@ss:,' },
  });
  t.match(parseWays('socks5h://[2001:DB8::1],socks4://me@10.0.0.1:1,direct,env'), [
    { name: 'socks5h://[2001:db8::1]:1080', port: 1080 },
    { name: 'socks4://10.0.0.1:1', credentials: { user: 'me', password: '' } },
    { kind: 'direct' },
    { kind: 'env' },
  ]);
  t.match(parseWays('pac+https://user:secret@p.example/proxy.pac?token=secret'), [
    { kind: 'pac', name: 'pac+https://p.example/proxy.pac' },
  ]);
  t.end();
});

t.test('credentials of a parent on the command line are warned of, as ps shows them', (t) => {
  const warned = /--parent are visible to everybody on this machine/;
  const withLogin = loadConfig(SERVE, ['--parent', 'http://u:needle@p:1'], {}).warnings;
  t.match(withLogin, [warned]);
  t.notMatch(withLogin.join(), 'needle');
  t.same(loadConfig(SERVE, ['--parent', 'http://p:1'], {}).warnings, []);
  t.same(loadConfig(SERVE, [], { SPLICEWAY_PARENT: 'http://u:needle@p:1' }).warnings, []);
  t.end();
});
