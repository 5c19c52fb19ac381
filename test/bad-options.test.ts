import t, { type Test } from 'tap';
import { loadConfig } from '../src/config/load.js';
import { SERVE } from '../src/config/tables.js';
import { type Finished, runCli } from './fixtures/run-cli.js';
import { listenOn } from './fixtures/sockets.js';

const SECRET = 'hunter2';

/** Says what every wrong use has in common. */
function isWrongUse(t: Test, { code, stdout, stderr }: Finished): void {
  t.equal(code, 64);
  t.equal(stdout, '');
  t.match(
    stderr,
    /^spliceway: (?:one problem|\d+ problems) with the options:\n( {2}.+\n)+see spliceway serve --help\n$/,
  );
  t.notMatch(stderr, /^\s+at /m, 'no stack trace');
}

/** The problems that the options have, in process. */
function problemsOf(argv: readonly string[], env: Readonly<Record<string, string>> = {}): readonly string[] {
  try {
    loadConfig(SERVE, argv, env);
    return [];
  } catch (error) {
    if (error instanceof Error && 'problems' in error) return error.problems as readonly string[];
    throw error;
  }
}

t.test('all problems of all sources are told at once, with exit code 64', async (t) => {
  const directory = t.testdir({
    'options.yaml': '# a comment\nkeepalive: 1500ms\n\nalow:\n  - a.example\nmax-tunnels:\n',
  });
  const run = await runCli(
    [
      'serve',
      '--config',
      `${directory}/options.yaml`,
      '--idle-timeout',
      'soon',
      '--no-auth',
      '--lissten=1',
      'x',
    ],
    { env: { SPLICEWAY_LOG_LEVEL: 'loud', SPLICEWAY_DENY: 'a.example:443 10.0.0.1/8:1' } },
  );
  isWrongUse(t, run);
  t.same(run.stderr.split('\n').slice(0, -2), [
    'spliceway: 9 problems with the options:',
    '  --lissten is not an option; did you mean --listen?',
    '  argument 7 is not an option; options begin with --',
    `  ${directory}/options.yaml:4 "alow" is not an option; did you mean allow?`,
    `  ${directory}/options.yaml:6 max-tunnels must be a single value; values that begin with a special character, such as * or [, need quotes`,
    '  SPLICEWAY_DENY "10.0.0.1/8:1" is not a rule: 10.0.0.1/8 is not an address range: write NETWORK/PREFIX with no host bits set, such as 10.0.0.0/8',
    '  --idle-timeout "soon" is not a duration: write it like 500ms, 30s, 5m, 1h30m, 2d or 0',
    `  ${directory}/options.yaml:2 keepalive "1500ms" must be whole seconds: the kernel counts in them`,
    '  SPLICEWAY_LOG_LEVEL "loud" must be trace, debug, info, warn, error, fatal or silent',
    '  --no-auth needs every --listen on loopback (127.0.0.1, [::1]), but 0.0.0.0 can be reached from outside: anybody could tunnel',
  ]);
});

t.test('no message repeats what may be a password', async (t) => {
  const files = Object.entries({
    tag: `password: !${SECRET}`,
    'tag-with-value': `password: !x ${SECRET}`,
    alias: `password: *${SECRET}`,
    anchor: `password: &${SECRET}`,
    'anchor-with-value': `password: &x ${SECRET}`,
    block: `password: |${SECRET}`,
    unclosed: `password: "${SECRET}`,
    escape: `password: "${SECRET}\\q"`,
    behind: `password: "x" ${SECRET}`,
    directive: `%${SECRET}\n---\npassword: x`,
    map: `user: {a: ${SECRET}}`,
    'map-in-list': `user:\n  - a: ${SECRET}`,
    'no-colon': `user: ${SECRET}`,
    'no-name': `user: ":${SECRET}"`,
    list: `password: [a, ${SECRET}]`,
    control: `password: "${SECRET}\\n"`,
    'name-with-password': `username: "a:${SECRET}"\npassword: x`,
    'two-documents': `password: x\n---\npassword: ${SECRET}`,
    twice: `password: x\npassword: ${SECRET}`,
  });
  const directory = t.testdir(Object.fromEntries(files));
  const cases: readonly (readonly [string, readonly string[], Readonly<Record<string, string>>])[] = [
    ...files.map(([name]) => [`file ${name}`, ['--config', `${directory}/${name}`], {}] as const),
    ['--user without colon', ['--user', SECRET], {}],
    ['--user without name', [`--user=:${SECRET}`], {}],
    ['--user in two words', ['--user', 'ann', SECRET], {}],
    ['--username with password', ['--username', `ann:${SECRET}`, '--password', 'x'], {}],
    ['--password twice', ['--username', 'a', '--password', SECRET, '--password', SECRET], {}],
    ['--password alone', ['--password', SECRET], {}],
    ['--password with a control character', ['--username', 'a', '--password', `${SECRET}\r`], {}],
    ['misspelt', ['--pasword', SECRET], {}],
    ['misspelt with =', [`--pasword=${SECRET}`], {}],
    ['one dash', [`-p${SECRET}`], {}],
    ['a word', [SECRET], {}],
    ['behind a switch', ['--no-auth', SECRET], {}],
    ['--no-auth with a user', ['--no-auth', '--listen', '127.0.0.1:0', '--user', `a:${SECRET}`], {}],
    ['SPLICEWAY_USER', [], { SPLICEWAY_USER: SECRET }],
    ['SPLICEWAY_USER lines', [], { SPLICEWAY_USER: `a:b\n${SECRET}` }],
    ['SPLICEWAY_PASSWORD', [], { SPLICEWAY_PASSWORD: SECRET }],
    ['SPLICEWAY_PASSWORD line end', [], { SPLICEWAY_USERNAME: 'a', SPLICEWAY_PASSWORD: `${SECRET}\n` }],
    ['SPLICEWAY_USERNAME', [], { SPLICEWAY_USERNAME: `a:${SECRET}`, SPLICEWAY_PASSWORD: 'x' }],
  ];
  for (const [name, argv, env] of cases) {
    const problems = problemsOf(argv, env);
    t.ok(problems.length > 0, `${name}: ${problems.join('; ')}`);
    t.notMatch(problems.join('\n'), SECRET, name);
  }
  const run = await runCli(['serve', '--pasword', SECRET], { env: { SPLICEWAY_USER: SECRET } });
  isWrongUse(t, run);
  t.notMatch(run.stderr, SECRET);
});

t.test('a misspelt name gets a suggestion where one is likely', async (t) => {
  for (const [given, meant] of [
    ['--alow', '--allow'],
    ['--idle-timout', '--idle-timeout'],
    ['--max-tunnel', '--max-tunnels'],
    ['--confg', '--config'],
    ['--relya', '--relay'],
  ] as const)
    t.same(problemsOf([given, 'x']), [`${given} is not an option; did you mean ${meant}?`]);
  for (const given of ['--log', '--x', '--port', '--tls-certificate'])
    t.same(problemsOf([given]), [`${given} is not an option`]);
});

t.test('values that are missing, too many or of the wrong kind are told apart', async (t) => {
  for (const [argv, problem] of [
    [['--listen'], '--listen needs a value: --listen HOST:PORT'],
    [['--idle-timeout', '--admin', 'off'], '--idle-timeout needs a value: --idle-timeout TIME'],
    [['--config'], '--config needs a value: --config FILE'],
    [['--admin', 'off', '--admin', 'off'], '--admin is given more than once'],
    [['--config', '/dev/null', '--config', '/dev/null'], '--config is given more than once'],
    [['--no-auth=perhaps'], '--no-auth "perhaps" must be true or false'],
    [['--listen', '3128'], /^--listen "3128" is not a listen address: write HOST:PORT, such as /],
    [['--listen', '127.0.0.1:65536'], /^--listen "127.0.0.1:65536" has a port above 65535/],
    [['--listen', '::1:3128'], /^--listen "::1:3128" is not a listen address/],
    [
      ['--handshake-timeout', '0'],
      '--handshake-timeout "0" must be longer than 0: every wait of this kind has a deadline',
    ],
    [['--keepalive', '10h'], '--keepalive "10h" is longer than 32767s, which the kernel does not take'],
    [['--max-tunnels', '-1'], '--max-tunnels "-1" is not a whole number from 0 to 999999999'],
    [['--relay', 'fast'], '--relay "fast" must be auto, splice or stream'],
    [
      ['--allow', 'a b'],
      '--allow "a b" is not a rule: its host is neither a name (* allowed), nor an address, nor a range',
    ],
    [['--allow', 'a:\u0007'], /^--allow "a:\\u0007" is not a rule/],
  ] as const)
    t.match(problemsOf(argv), [problem], argv.join(' '));
});

t.test('options that contradict one another are told with the way out', async (t) => {
  for (const [argv, problem] of [
    [['--no-auth'], /^--no-auth needs every --listen on loopback .* 0\.0\.0\.0 can be reached/],
    [['--no-auth', '--listen', '[::]:1', '--listen', '127.0.0.1:1'], / but :: can be reached/],
    [['--no-auth', '--listen', '10.77.0.1:1'], / but 10\.77\.0\.1 can be reached/],
    [['--no-auth', '--listen', '127.example:1'], / but 127\.example can be reached/],
    [['--no-auth', '--listen', '127.0.0.1:1', '--user', 'a:b'], /^--no-auth contradicts --user/],
    [
      ['--username', 'a'],
      '--username and --password go together, but SPLICEWAY_PASSWORD is empty or not set',
    ],
    [
      ['--password', 'a'],
      '--username and --password go together, but SPLICEWAY_USERNAME is empty or not set',
    ],
    [['--listen', '[::1]:7', '--listen', '[0::1]:7'], '::1 port 7 is to be listened on twice'],
    [['--listen', '127.0.0.1:7', '--admin', '127.0.0.1:7'], '127.0.0.1 port 7 is to be listened on twice'],
    [['--dial-retry', '60s'], /^--dial-retry must be shorter than --dial-timeout/],
  ] as const)
    t.match(problemsOf(argv), [problem], argv.join(' '));
  t.same(
    problemsOf([], { SPLICEWAY_USERNAME: 'a', SPLICEWAY_PASSWORD: '' }),
    ['--username and --password go together, but SPLICEWAY_PASSWORD is empty or not set'],
    'a template that nobody filled in',
  );
  for (const listen of ['127.0.0.1:0', '127.9.9.9:0', '[::1]:0', 'localhost:0', '[::ffff:127.0.0.1]:0'])
    t.same(problemsOf(['--no-auth', '--listen', listen]), [], listen);
  t.same(problemsOf(['--listen', '127.0.0.1:0', '--listen', '127.0.0.1:0']), [], 'port 0 is a new one each');
});

t.test('a file that cannot be read, or is no list of options, is named with the line', async (t) => {
  const directory = t.testdir({
    list: '- listen: 127.0.0.1:0',
    text: 'listen',
    broken: 'allow: a.example\ndeny: [\n',
    tab: 'allow:\n\t- a.example\n',
    rule: 'allow: *.a.example:443\n',
    folder: {},
  });
  for (const [name, problem] of [
    ['missing', 'does not exist'],
    ['folder', 'is a directory: give a file in it'],
    ['list', 'is not made of "option: value" lines'],
    ['text', 'is not made of "option: value" lines'],
    ['broken', ':3 is not YAML: Flow sequence in block collection must be'],
    ['tab', ':2 is not YAML: '],
    [
      'rule',
      ':1 allow must be a value or a list of values; values that begin with a special character, such as * or [, need quotes',
    ],
  ] as const) {
    const [first = ''] = problemsOf(['--config', `${directory}/${name}`]);
    t.ok(first.startsWith(`${directory}/${name}`), first);
    t.match(first.slice(`${directory}/${name}`.length).trim(), problem, name);
  }
  const run = await runCli(['serve', '--config', `${directory}/missing`]);
  isWrongUse(t, run);
});

t.test(
  'an address that cannot be listened on ends it with exit code 1, the reason and the option',
  async (t) => {
    const taken = await listenOn(t);
    const at = `127.0.0.1:${taken.port}`;
    for (const [argv, message] of [
      [
        ['--listen', at, '--admin', 'off'],
        `cannot listen on ${at}: the port is in use; choose another address with --listen HOST:PORT`,
      ],
      [
        ['--listen', '127.0.0.1:0', '--admin', at],
        `cannot listen on ${at}: the port is in use; choose another address with --admin HOST:PORT`,
      ],
      [
        ['--listen', '192.0.2.1:3128', '--admin', 'off'],
        'cannot listen on 192.0.2.1:3128: the machine does not have this address; choose another address with --listen HOST:PORT',
      ],
      [
        ['--listen', 'nowhere.test:3128', '--admin', 'off'],
        /^cannot listen: the host name does not resolve.*; choose another address with --listen HOST:PORT$/,
      ],
    ] as const) {
      const { code, stdout, stderr } = await runCli(['serve', ...argv]);
      t.equal(code, 1, argv.join(' '));
      t.equal(stdout, '');
      t.match(stderr.replace(/^spliceway: /, '').trimEnd(), message);
    }
  },
);

t.test('a value that YAML would read in a way of its own is refused, not half taken', async (t) => {
  for (const value of ['!x 5', '!!str 5', '&x 5', '*x', '~', '{a: 5}', '[5]']) {
    const file = `${t.testdir({ 'options.yaml': `max-tunnels: ${value}\n` })}/options.yaml`;
    t.match(
      problemsOf(['--config', file]).join('; '),
      /:[12] (?:is not YAML|max-tunnels must be a single value)/,
      value,
    );
  }
});

t.test('an empty list of what is allowed is refused: it would allow everything', async (t) => {
  const file = `${t.testdir({ 'options.yaml': 'allow: []\n' })}/options.yaml`;
  t.match(problemsOf(['--config', file]).join('; '), /:1 allow is empty.*leave it out/);
});

t.test('a port below 1024 without the privilege is told with the way out', async (t) => {
  const { code, stderr } = await runCli(['serve', '--listen', '127.0.0.1:80', '--admin', 'off'], {
    under: ['setpriv', '--bounding-set=-net_bind_service', '--inh-caps=-net_bind_service'],
  });
  t.equal(code, 1);
  t.equal(
    stderr,
    'spliceway: cannot listen on 127.0.0.1:80: ports below 1024 need a privilege; choose another address with --listen HOST:PORT\n',
  );
});
