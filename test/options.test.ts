import t from 'tap';
import { loadConfig } from '../src/config/load.js';
import { type Config, credentialsOf } from '../src/config/options.js';
import { parseDuration } from '../src/config/parsers.js';
import { type OptionRow, rowsOf, variableOf } from '../src/config/table.js';
import { FORWARD, SERVE } from '../src/config/tables.js';

/** Three different values for options by what stands for their value in the help; a new kind of value needs a row. */
const SAMPLES: Readonly<Record<string, readonly [string, string, string]>> = {
  'HOST:PORT': ['127.0.0.1:4001', '[::1]:4002', 'localhost:0'],
  'HOST:PORT|off': ['127.0.0.1:5001', '[::]:5002', 'off'],
  TIME: ['1s', '2500ms', '20s'],
  N: ['1', '22', '333'],
  'NAME:PASSWORD': ['ann:a', 'bob:b:b', 'cy:ü'],
  NAME: ['ann', 'bob', 'cy'],
  PASSWORD: ['a:a', 'b b', 'ü'],
  RULE: ['*.a.example:443', '10.0.0.0/8:1-9', '[2001:db8::]/32:*'],
  '[RULE=]WAY[,WAY...]': [
    'http://p.example:3128',
    '*.a.example:443,8443=socks5h://u:p%2Cw@[::1],direct',
    '10.0.0.0/8:*=direct',
  ],
  LEVEL: ['debug', 'warn', 'silent'],
  'TOKEN[,TOKEN]|none': ['websocket', 'SPDY/3.1,tls/1.2', 'none'],
  'auto|splice|stream': ['splice', 'stream', 'auto'],
  'json|pretty': ['json', 'pretty', 'json'],
  switch: ['true', 'false', 'true'],
};

/** Keepalive takes whole seconds only, and there is no port 0 to connect to. */
const OWN_SAMPLES: Readonly<Record<string, readonly [string, string, string]>> = {
  target: ['a.example:1', '10.0.0.1:22', '[2001:db8::1]:333'],
  keepalive: ['1s', '0', '2m'],
};

/** What an option needs beside it in order not to be a contradiction. */
const COMPANIONS: Readonly<Record<string, readonly string[]>> = {
  username: ['--password', 'x'],
  password: ['--username', 'x'],
  noAuth: ['--listen', '127.0.0.1:0'],
};

/** A command whose options are tried. */
interface Command {
  readonly name: string;
  /** Where those of {@link OWN_SAMPLES} would contradict its other options. */
  readonly samples: typeof OWN_SAMPLES;
  readonly rows: readonly (readonly [string, OptionRow<unknown>])[];
  readonly load: (
    argv: readonly string[],
    env?: Readonly<Record<string, string>>,
  ) => Readonly<Record<string, unknown>>;
}

const COMMANDS: readonly Command[] = [
  {
    name: 'serve',
    samples: {},
    rows: rowsOf(SERVE),
    load: (argv, env = {}) => loadConfig(SERVE, argv, env).config,
  },
  {
    name: 'forward',
    // Each must be for the target.
    samples: { parent: ['http://p.example:3128', 'a.example:*=direct', 'socks5h://u:p%2Cw@[::1],direct'] },
    rows: rowsOf(FORWARD),
    load: (argv, env = {}) => loadConfig(FORWARD, argv, env).config,
  },
];

/** Every option of a command with sample values, as they are written and parsed. */
function casesOf({ rows, samples }: Command) {
  const own = { ...OWN_SAMPLES, ...samples };
  return rows.map(([key, row]) => {
    const texts = own[key] ?? SAMPLES[row.placeholder ?? 'switch'];
    if (texts === undefined) throw new Error(`no sample values for ${row.placeholder}`);
    const [one, two, three] = texts;
    const value = (...given: readonly string[]) => {
      const values = given.map((text) => row.parse(text).value);
      return row.repeatable === undefined ? values.at(-1) : values;
    };
    const others = rows.filter(([other, { required }]) => other !== key && required !== undefined);
    const required = others.flatMap(([other, { name }]) => [`--${name}`, own[other]?.[0] ?? '']);
    return {
      key,
      row,
      one,
      two,
      three,
      value,
      required,
      companions: [...required, ...(COMPANIONS[key] ?? [])],
    };
  });
}

function load(argv: readonly string[], env: Readonly<Record<string, string>> = {}): Config {
  return loadConfig(SERVE, argv, env).config;
}

for (const command of COMMANDS) {
  t.test(`every option is a flag, a variable and a key of the file, in ${command.name}`, async (t) => {
    for (const { key, row, one, two, value, companions } of casesOf(command)) {
      const isSwitch = row.placeholder === undefined;
      const flag = `--${row.name}`;
      t.same(command.load([...companions, ...(isSwitch ? [flag] : [flag, one])])[key], value(one), flag);
      t.same(command.load([...companions, `${flag}=${one}`])[key], value(one), `${flag}=`);
      t.same(
        command.load(companions, { [variableOf(row.name)]: one })[key],
        value(one),
        variableOf(row.name),
      );
      const directory = t.testdir({
        // YAML has a meaning of its own for *.
        'plain.yaml': `${row.name}: ${one.startsWith('*') ? two : one}`,
        'quoted.yaml': `${row.name}: "${one}"`,
      });
      const plain = command.load([...companions, '--config', `${directory}/plain.yaml`]);
      t.same(plain[key], value(one.startsWith('*') ? two : one), `file ${row.name}`);
      const quoted = command.load([...companions, '--config', `${directory}/quoted.yaml`]);
      t.same(quoted[key], value(one), `file ${row.name}, quoted`);
    }
  });
}

for (const command of COMMANDS) {
  t.test(
    `flags win over variables, variables over the file, the file over the default, in ${command.name}`,
    async (t) => {
      for (const { key, row, one, two, three, value, required, companions } of casesOf(command)) {
        const file = `${t.testdir({ 'options.yaml': `${row.name}: ${JSON.stringify(three)}` })}/options.yaml`;
        const env = { [variableOf(row.name)]: two, SPLICEWAY_CONFIG: file };
        t.same(command.load([...companions, `--${row.name}=${one}`], env)[key], value(one), `--${row.name}`);
        t.same(command.load(companions, env)[key], value(two), variableOf(row.name));
        t.same(command.load(companions, { SPLICEWAY_CONFIG: file })[key], value(three), `file ${row.name}`);
        if (row.required !== undefined) continue;
        const fallback = row.default === undefined ? value() : value(row.default);
        t.same(command.load(required)[key], fallback, `default ${row.name}`);
      }
    },
  );
}

t.test('--config wins over SPLICEWAY_CONFIG, which counts as unset when empty', async (t) => {
  const directory = t.testdir({ 'a.yaml': 'max-tunnels: 1', 'b.yaml': 'max-tunnels: 2' });
  const env = { SPLICEWAY_CONFIG: `${directory}/b.yaml` };
  t.equal(load(['--config', `${directory}/a.yaml`], env).maxTunnels, 1);
  t.equal(load([], env).maxTunnels, 2);
  t.equal(load([], { SPLICEWAY_CONFIG: '' }).maxTunnels, 0);
});

for (const command of COMMANDS) {
  t.test(
    `an option that may be repeated is a list everywhere, replaced as a whole, in ${command.name}`,
    async (t) => {
      for (const { key, row, one, two, three, value, required } of casesOf(command)) {
        if (row.repeatable === undefined) continue;
        const flag = `--${row.name}`;
        const between = row.repeatable === 'words' ? ' \t\n ' : '\n\n';
        const env = { [variableOf(row.name)]: `${one}${between}${two}\n` };
        const directory = t.testdir({
          'block.yaml': `${row.name}:\n  - ${JSON.stringify(one)}\n  - ${JSON.stringify(two)}\n`,
          'flow.yaml': `${row.name}: [${JSON.stringify(one)}, ${JSON.stringify(two)}]`,
        });
        t.same(command.load([...required, flag, one, `${flag}=${two}`])[key], value(one, two), flag);
        t.same(command.load(required, env)[key], value(one, two), variableOf(row.name));
        t.same(
          command.load([...required, '--config', `${directory}/block.yaml`])[key],
          value(one, two),
          'block',
        );
        t.same(
          command.load([...required, '--config', `${directory}/flow.yaml`])[key],
          value(one, two),
          'flow',
        );
        t.same(
          command.load([...required, flag, three], env)[key],
          value(three),
          'a flag replaces the variable',
        );
      }
    },
  );
}

for (const command of COMMANDS) {
  t.test(`an empty list and an empty variable leave the default, in ${command.name}`, async (t) => {
    for (const { key, row, value, required } of casesOf(command)) {
      if (row.required !== undefined) continue;
      const fallback = row.default === undefined ? value() : value(row.default);
      t.same(command.load(required, { [variableOf(row.name)]: '' })[key], fallback, variableOf(row.name));
      if (row.repeatable === undefined) continue;
      t.same(command.load(required, { [variableOf(row.name)]: ' \n' })[key], fallback, 'blank');
      if (key === 'allow') continue; // An empty one would mean the opposite of what it says: see bad-options.
      const file = `${t.testdir({ 'options.yaml': `${row.name}: []` })}/options.yaml`;
      t.same(command.load([...required, '--config', file])[key], fallback, `file ${row.name}`);
    }
  });
}

t.test('an empty file is fine, and so is one of comments', async (t) => {
  const directory = t.testdir({ empty: '', comments: '# listen: 1\n---\n', bom: '\uFEFFmax-tunnels: 3\r\n' });
  t.same(load(['--config', `${directory}/empty`]), load([]));
  t.same(load(['--config', `${directory}/comments`]), load([]));
  t.equal(load(['--config', `${directory}/bom`]).maxTunnels, 3, 'a byte order mark and CRLF do not matter');
});

t.test('durations are text with units, and milliseconds inside', async (t) => {
  for (const [text, ms] of [
    ['0', 0],
    ['0s', 0],
    ['500ms', 500],
    ['30s', 30_000],
    ['5m', 300_000],
    ['12h', 43_200_000],
    ['1h30m', 5_400_000],
    ['2d', 172_800_000],
    ['24d', 2_073_600_000],
  ] as const)
    t.equal(parseDuration(text).value, ms, text);
  for (const text of ['', '30', '-1s', '1.5s', '1 s', '1S', '5min', 's', '1h30', 'Infinity'])
    t.match(parseDuration(text).problem, 'is not a duration: write it like', JSON.stringify(text));
  for (const text of ['25d', '9999999999h'])
    t.match(parseDuration(text).problem, 'is longer than 24 days', text);
});

t.test('the defaults are those that clients of the field were measured against', async (t) => {
  t.match(load([]), {
    handshakeTimeout: 30_000,
    connectTimeout: 10_000,
    dialTimeout: 60_000,
    dialRetry: 0,
    idleTimeout: 43_200_000,
    halfCloseTimeout: 3_600_000,
    keepalive: 60_000,
    drainWindow: 5000,
    drainTimeout: 3_600_000,
    logLevel: 'info',
    relay: 'auto',
    noAuth: false,
  });
  t.same(load([]).listen, [{ host: '0.0.0.0', port: 3128 }]);
  t.same(load([]).admin, { host: '127.0.0.1', port: 9128 });
});

t.test('users come from --user and from --username with --password', async (t) => {
  const config = load(['--user', 'ann:p:w', '--user', 'ann:next'], {
    SPLICEWAY_USERNAME: 'bob',
    SPLICEWAY_PASSWORD: ' x y ',
  });
  t.same(credentialsOf(config), [
    { name: 'ann', password: 'p:w' },
    { name: 'ann', password: 'next' },
    { name: 'bob', password: ' x y ' },
  ]);
});

t.test('credentials on the command line are warned about, those of the environment are not', async (t) => {
  t.match(loadConfig(SERVE, ['--user', 'a:b'], {}).warnings, [/visible to everybody.*\(ps\)/]);
  t.match(loadConfig(SERVE, ['--username', 'a', '--password', 'b'], {}).warnings, [/visible/]);
  t.same(loadConfig(SERVE, [], { SPLICEWAY_USERNAME: 'a', SPLICEWAY_PASSWORD: 'b' }).warnings, []);
  const parent = 'http://a:hunter2@p.example:3128';
  const { warnings } = loadConfig(SERVE, ['--parent', parent], {});
  t.match(warnings, [/^the credentials in --parent are visible.*; use SPLICEWAY_PARENT$/]);
  t.notMatch(warnings.join(), 'hunter2');
  t.same(loadConfig(SERVE, ['--parent', 'http://p.example:3128'], {}).warnings, []);
  t.same(loadConfig(SERVE, [], { SPLICEWAY_PARENT: parent }).warnings, []);
});
