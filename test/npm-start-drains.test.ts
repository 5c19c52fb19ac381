import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';

t.test('SIGTERM to npm start reaches the proxy, which drains', async (t) => {
  const options = [
    '--listen',
    '127.0.0.1:0',
    '--admin',
    'off',
    '--drain-window',
    '0s',
    '--log-format',
    'json',
  ];
  const npm = spawn('npm', ['start', '--silent', '--', ...options], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    env: { ...process.env, NODE_OPTIONS: '' },
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
  t.teardown(() => {
    if (npm.exitCode === null && npm.pid !== undefined) process.kill(-npm.pid, 'SIGKILL');
  });
  const exited = once(npm, 'exit');
  const events: string[] = [];
  for await (const line of createInterface({ input: npm.stderr })) {
    const event = /"event":"([a-z]+)"/.exec(line)?.[1];
    if (event === undefined) continue;
    events.push(event);
    if (event === 'listening') npm.kill('SIGTERM');
  }
  t.same(events, ['listening', 'draining', 'stopped']);
  await exited;
});
