import t from 'tap';
import { ConfigError, loadConfig } from '../src/config/load.js';
import { FORWARD, SERVE } from '../src/config/tables.js';

const TARGET = ['--target', 'a.example:1'];

/** Loads as the commands do. */
const serve = (argv: readonly string[], env = {}) => loadConfig(SERVE, argv, env);
const forward = (argv: readonly string[], env = {}) =>
  loadConfig(FORWARD, ['--parent', 'direct', ...argv], env);

function problemsOf(load: () => unknown): readonly string[] {
  try {
    load();
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
}

t.test('an option of the other command is told as what it is, as a flag and in the file', async (t) => {
  const { command: ofServe } = SERVE;
  const { command: ofForward } = FORWARD;
  t.same(
    problemsOf(() => serve(TARGET)),
    [`--target is an option of ${ofForward}, not of ${ofServe}`],
  );
  t.same(
    problemsOf(() => forward(['--handshake-timeout', '1s', '--no-auth', ...TARGET])),
    ['--handshake-timeout', '--no-auth'].map(
      (flag) => `${flag} is an option of ${ofServe}, not of ${ofForward}`,
    ),
    'nor is what follows a switch its value',
  );
  const file = `${t.testdir({ 'options.yaml': '\ntarget: a.example:443\n' })}/options.yaml`;
  t.same(
    problemsOf(() => serve(['--config', file])),
    [`${file}:2 "target" is an option of ${ofForward}, not of ${ofServe}`],
  );
  t.same(
    problemsOf(() => forward(['--config', file])),
    [],
  );
});

t.test('a suggestion is one of the command, not of the other', async (t) => {
  t.same(
    problemsOf(() => forward([...TARGET, '--tagret', 'x'])),
    ['--tagret is not an option; did you mean --target?'],
  );
  t.same(
    problemsOf(() => serve(['--tagret', 'x'])),
    ['--tagret is not an option'],
  );
});

t.test('a variable of the other command is neither looked at nor warned about', async (t) => {
  const variables = { SPLICEWAY_USERNAME: 'a', SPLICEWAY_NO_AUTH: 'perhaps', SPLICEWAY_ALLOW: 'a b' };
  t.same(forward(TARGET, variables), forward(TARGET));
  t.same(serve([], { SPLICEWAY_TARGET: 'nonsense' }), serve([]));
  t.match(forward(TARGET, { SPLICEWAY_NO_AUHT: 'true' }).warnings, [
    /SPLICEWAY_NO_AUHT is not one of spliceway's/,
  ]);
});

t.test('a variable that both share is read by both', async (t) => {
  const variables = { SPLICEWAY_IDLE_TIMEOUT: '7s' };
  t.equal(serve([], variables).config.idleTimeout, 7000);
  t.equal(forward(TARGET, variables).config.idleTimeout, 7000);
});

t.test('a required option that is missing, or empty, is told with what to write', async (t) => {
  for (const env of [{}, { SPLICEWAY_TARGET: '', SPLICEWAY_PARENT: ' ' }])
    t.match(
      problemsOf(() => loadConfig(FORWARD, ['--listen', 'nonsense'], env)),
      [
        /^--listen "nonsense" is not a listen address: /,
        /^--target is missing: .*--target api\.target\.example:6443$/,
        /^--parent is missing: .*--parent http:.*, or --parent direct$/,
      ],
      'beside what else is wrong',
    );
});

t.test('a target that cannot be one is told, and not repeated: it may hold a password', async (t) => {
  for (const target of [
    'a.example',
    'a.example:0',
    ':443',
    'http://u:hunter2@a.example:1',
    '::1:443',
    'u:hunter2@a:1',
  ])
    t.match(
      problemsOf(() => forward(['--target', target])),
      [
        /^--target is not HOST:PORT: write a name or an address, IPv6 in brackets, and a port from 1 to 65535$/,
      ],
      target,
    );
});

t.test('a --parent that is for other targets only is told: the port would lead there directly', async (t) => {
  const through = (...ways: readonly string[]) =>
    problemsOf(() => loadConfig(FORWARD, [...TARGET, ...ways.flatMap((way) => ['--parent', way])], {}));
  const [problem, ...more] = through('*.b.example:1=http://u:hunter2@b.example:1');
  t.match(problem, /^no --parent is for the target: leave out RULE=/);
  t.same(more, []);
  t.same(through('*.b.example:1=http://b.example:1', 'direct'), []);
  t.same(through('a.example:1=http://b.example:1'), []);
});
