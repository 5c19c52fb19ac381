import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { forwardHelp, healthHelp, serveHelp } from '../src/config/help.js';
import { rowsOf } from '../src/config/table.js';
import { FORWARD, HEALTH, SERVE } from '../src/config/tables.js';
import { runCli } from './fixtures/run-cli.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

function fitsTheScreen(t: Test, text: string): void {
  t.same(
    text.split('\n').filter((line) => line.length > 100),
    [],
    'no line is longer than 100 columns',
  );
  t.notMatch(text, /[ \t]$/m, 'no line ends in a blank');
  t.ok(text.endsWith('\n') && !text.endsWith('\n\n'), 'it ends with one line end');
}

/** The commands, as the general help lists them. */
async function commands(): Promise<readonly string[]> {
  const { stdout } = await runCli(['--help']);
  return [...stdout.matchAll(/^ {2}([a-z]+) {2,}\S/gm)].map(([, name = '']) => name);
}

t.test('the general help lists the commands', async (t) => {
  for (const argv of [['--help'], ['-h'], ['help']]) {
    const { code, stdout, stderr } = await runCli(argv);
    t.equal(code, 0, argv.join(' '));
    t.equal(stderr, '');
    t.match(stdout, /^Usage: spliceway COMMAND \[OPTIONS\]$/m);
    fitsTheScreen(t, stdout);
  }
  t.ok((await commands()).includes('serve'));
});

t.test('every command has its help, in whatever place it is asked for', async (t) => {
  for (const command of await commands()) {
    for (const flag of ['--help', '-h']) {
      const { code, stdout, stderr } = await runCli([command, flag]);
      t.equal(code, 0, `${command} ${flag}`);
      t.equal(stderr, '');
      t.match(stdout, `Usage: spliceway ${command} [`);
      fitsTheScreen(t, stdout);
    }
  }
  const { code, stdout } = await runCli(['serve', '--listen', 'nonsense', '--help']);
  t.equal(code, 0);
  t.equal(stdout, serveHelp());
});

for (const { command, rows, text } of [
  { command: 'serve', rows: rowsOf(SERVE), text: serveHelp() },
  { command: 'forward', rows: rowsOf(FORWARD), text: forwardHelp() },
  { command: 'health', rows: rowsOf(HEALTH), text: healthHelp() },
]) {
  t.test(`every option is in the help of ${command}, with its value and its default`, async (t) => {
    const lines = text.replace(/\n {20,}/g, ' ').split('\n');
    for (const [, { name, placeholder, help, ...row }] of rows) {
      const line = lines.find((each) => each.startsWith(`      --${name} `)) ?? '';
      t.match(line, help, name);
      if (placeholder !== undefined) t.match(line, `--${name} ${placeholder} `);
      if (placeholder !== undefined && row.default !== undefined) t.match(line, `default ${row.default}]`);
      if (row.repeatable !== undefined) t.match(line, /\[(?:required; )?repeatable/);
      if (row.required !== undefined) t.match(line, '[required');
    }
    t.match(text, /--config FILE /);
  });
}

t.test('the version is that of package.json', async (t) => {
  const { version } = JSON.parse(readFileSync(`${ROOT}/package.json`, 'utf8')) as { version: string };
  for (const flag of ['--version', '-V'])
    t.same(await runCli([flag]), { code: 0, stdout: `spliceway ${version}\n`, stderr: '' });
});

t.test(
  'without a command, or with an unknown one, the help goes to standard error, with exit code 64',
  async (t) => {
    const { stdout: help } = await runCli(['--help']);
    t.same(await runCli([]), { code: 64, stdout: '', stderr: help });
    for (const word of ['sevre', 'constructor'])
      t.same(await runCli([word]), {
        code: 64,
        stdout: '',
        stderr: `spliceway: "${word}" is not a command\n\n${help}`,
      });
    t.match(
      (await runCli(['--listen', '127.0.0.1:0'])).stderr,
      /"--listen" is not a command; .*spliceway serve --listen/,
    );
  },
);

t.test('npm start hands options on', async (t) => {
  const { stdout } = await promisify(execFile)('npm', ['start', '--silent', '--', '--help'], { cwd: ROOT });
  t.equal(stdout, serveHelp());
});

t.test('a reader that has seen enough does not make it fail', async (t) => {
  const script = `"$0" build/src/cli.js serve --help | head -n 1; echo "\${PIPESTATUS[0]}"`;
  const { stdout, stderr } = await promisify(execFile)('bash', ['-c', script, process.execPath], {
    cwd: ROOT,
  });
  t.equal(stdout, 'Usage: spliceway serve [OPTIONS]\n0\n');
  t.equal(stderr, '');
});

t.test('output that cannot be written is a failure with its reason', async (t) => {
  for (const argv of [['--help'], ['serve', '--help'], ['manifest', 'inventory'], ['rehearse', '--help']])
    t.match(
      await runCli(argv, { under: ['bash', '-c', 'exec "$@" > /dev/full', 'bash'] }),
      { code: 1, stderr: /^spliceway: standard output cannot be written: ENOSPC.*\n$/ },
      argv.join(' '),
    );
});
