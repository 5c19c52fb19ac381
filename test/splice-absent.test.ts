import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { startProxy } from './fixtures/proxy.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** A copy of what was compiled, with this in the place of the native core. */
function installation(t: Test, core?: string): string {
  const copy = mkdtempSync(join(tmpdir(), 'spliceway-'));
  t.teardown(() => rmSync(copy, { recursive: true }));
  cpSync(join(ROOT, 'build/src'), join(copy, 'build/src'), { recursive: true });
  cpSync(join(ROOT, 'package.json'), join(copy, 'package.json'));
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  if (core !== undefined) {
    const file = join(copy, 'build/native/relay.node');
    cpSync(join(ROOT, 'build/native'), dirname(file), { recursive: true });
    writeFileSync(file, core);
  }
  return join(copy, 'build/src/cli.js');
}

for (const [situation, core, why] of [
  ['was not built', undefined, /^its native core was not built .*apt-get install gcc make/],
  ['does not load', 'no shared object', /^its native core does not load: .*relay\.node/],
] as const) {
  t.test(`where the native core ${situation}, stream runs, and everybody is told why`, async (t) => {
    const cli = installation(t, core);
    const proxy = await startProxy(t, [], { cli });
    const { engine, absentEngines } = await proxy.until(({ event }) => event === 'listening');
    t.equal(engine, 'stream');
    t.match(absentEngines, [{ name: 'splice', why }]);
    t.match(proxy.stdout(), /^relay engine {3}stream \(splice is absent: its native core /m);
    t.match(
      (await proxy.page('/metrics')).body,
      /^spliceway_relay_engine_info\{engine="splice",state="absent",why="its native core .*"\} 1$/m,
    );

    const asked = spawnSync(process.execPath, [cli, 'serve', '--relay', 'splice'], { encoding: 'utf8' });
    t.equal(asked.status, 1);
    t.match(asked.stderr, /^spliceway: the relay engine splice is absent: its native core /);
    t.notMatch(asked.stderr, /^ +at /m, 'no stack trace');
  });
}

t.test('npm run build succeeds without a compiler, and says that splice will be absent', async (t) => {
  const cli = installation(t);
  const root = join(dirname(cli), '../..');
  cpSync(join(ROOT, 'src'), join(root, 'src'), { recursive: true });
  const built = spawnSync('npm', ['run', 'build:native'], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, CC: '/nonexistent/cc', NODE_OPTIONS: '' },
  });
  t.equal(built.status, 0, built.stderr);
  t.match(built.stderr, /built without the native core.*splice engine will be absent/);
});
