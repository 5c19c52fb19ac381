import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { MAY_CHANGE_USER } from '../bench/processes.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const ALL = ['direct', 'splice', 'stream', 'haproxy', 'squid', 'tinyproxy', 'proxy-chain', 'proxy'];

/** Squid wants to change its user when it is started by root, and gives up where there is no other, as for ordinary users here. */
const CONTENDERS =
  process.getuid?.() === 0 && !MAY_CHANGE_USER ? ALL.filter((name) => name !== 'squid') : ALL;

t.before(() => {
  const { status, stderr } = spawnSync('make', ['-s', '-C', 'bench'], { cwd: ROOT, encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
});

/** Runs the benchmark; its figures mean nothing here. */
function bench(t: Test, options: readonly string[]) {
  const out = mkdtempSync(join(tmpdir(), 'spliceway-'));
  t.teardown(() => rmSync(out, { recursive: true }));
  const ran = spawnSync(process.execPath, ['build/bench/run.js', ...options, '--out', out], {
    cwd: ROOT,
    encoding: 'utf8',
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  return { ...ran, read: (name: string) => readFileSync(join(out, name), 'utf8') };
}

t.test('every contender carries every byte of every measure', (t) => {
  const { status, stdout, stderr, read } = bench(t, [
    ...['--quick', '--require-all', '--contenders', CONTENDERS.join(',')],
  ]);
  if (!t.equal(status, 0, 'it ends well')) t.comment(stderr);
  for (const contender of CONTENDERS) t.match(read('table.md'), new RegExp(`^\\| ${contender} +\\|`, 'm'));
  t.match(stdout, /## Targets of `splice`/);
  t.match(read('chart.svg'), /^<svg .*<\/svg>\s*$/s);
  t.doesNotThrow(() => JSON.parse(read('results.json')));
  t.end();
});

t.test('across three network namespaces as well, of which none is left', (t) => {
  const only = ['--only', 'bulk-8,round-trip', '--contenders', 'direct,splice,haproxy'];
  const { status, stderr } = bench(t, ['--quick', '--netns', ...only]);
  if (!t.equal(status, 0, 'it ends well')) t.comment(stderr);
  t.notMatch(spawnSync('ip', ['netns', 'list'], { encoding: 'utf8' }).stdout, /spliceway-bench-/);
  t.end();
});

t.test('wrong use is told apart from a failure', (t) => {
  const { status, stderr } = bench(t, ['--rounds', 'many']);
  t.equal(status, 64);
  t.match(stderr, /--rounds/);
  t.end();
});
