import { readFile } from 'node:fs/promises';

import t from 'tap';

import { createWorkspace } from '../fixtures/e2e-clusters.js';

/** Says its process id and stays, whatever it is told. */
const STUBBORN = [
  '-e',
  "process.on('SIGTERM', () => {}); console.log('id', process.pid); setInterval(() => {}, 1e6)",
];

const lives = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

const runningCommand = (pid: number): Promise<string> =>
  readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');

t.test('a program that does not listen to SIGTERM is killed, and no other like it', async (t) => {
  const workspace = await createWorkspace(t);
  const one = await workspace.start('one', process.execPath, STUBBORN);
  const other = await workspace.start('other', process.execPath, STUBBORN);
  await one.untilLogged(/id \d+/);
  const [, pid] = await other.untilLogged(/id (\d+)/);

  await one.stop(100);
  t.same(one.exit, { code: null, signal: 'SIGKILL' });
  t.ok(lives(Number(pid)), 'the one with the same command line lives on');
  t.equal(other.exit, undefined);
  await other.stop(100);
});

t.test('what has gone into a session of its own is ended too', async (t) => {
  const workspace = await createWorkspace(t);
  const starter = await workspace.start('starter', '/bin/sh', ['-c', 'setsid sleep 600 & echo "id $!"']);
  const [, pid] = await starter.untilLogged(/id (\d+)/);
  t.same(await starter.ended(), { code: 0, signal: null });
  t.ok(lives(Number(pid)));

  await starter.stop();
  // A zombie still answers to kill(2): what counts is that nothing of it runs.
  t.notMatch(await runningCommand(Number(pid)), 'sleep');
});
