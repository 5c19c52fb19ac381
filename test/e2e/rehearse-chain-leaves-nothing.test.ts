import { readdir } from 'node:fs/promises';

import t, { type Test } from 'tap';

import {
  checkNothingLeft,
  pathOfSlowRsync,
  processesOf,
  type Rehearsal,
  startRehearsal,
} from '../fixtures/e2e-rehearse.js';
import { eventually } from '../fixtures/process-state.js';

/** A rehearsal in the middle of its transfer, with the network namespaces that its programs are in. */
async function startInTheMiddle(t: Test): Promise<Rehearsal> {
  const path = await pathOfSlowRsync(t);
  const rehearsal = await startRehearsal(t, ['--size', '64MiB', '--chain', 'squid'], path);
  await rehearsal.saw(/probe .* succeeded/);
  const networks = new Set((await processesOf(rehearsal)).map(({ network }) => network));
  t.ok(
    networks.size >= 5,
    'the command, what it started, the source, the proxy and the target are in others',
  );
  t.same(await namedNamespaces(), [], 'a namespace without a name lives as long as the processes in it');
  return rehearsal;
}

// The benchmark, which has a test of its own, names those that it makes.
async function namedNamespaces(): Promise<readonly string[]> {
  const names = await readdir('/run/netns').catch(() => []);
  return names.filter((name) => !name.startsWith('spliceway-bench-'));
}

for (const [signal, exitCode] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  t.test(`${signal} in the middle of a chain leaves nothing`, async (t) => {
    const rehearsal = await startInTheMiddle(t);
    rehearsal.child.kill(signal);
    const { code, err } = await rehearsal.ended();
    t.equal(code, exitCode);
    t.equal(err, `rehearse: ended by ${signal}; nothing is left running\n`);
    await checkNothingLeft(t, rehearsal);
  });
}

t.test('SIGKILL in the middle of a chain leaves nothing, not even a file', async (t) => {
  const rehearsal = await startInTheMiddle(t);
  rehearsal.child.kill('SIGKILL');
  // Its output ends with the last process that has it.
  const { err } = await rehearsal.ended();
  t.equal(err, 'rehearse: the command is gone; nothing is left running\n');
  await eventually(
    () => processesOf(rehearsal),
    (processes) => processes.length === 0,
  );
  await checkNothingLeft(t, rehearsal);
});

t.test('when process 1 of the namespaces is killed, no process is left, and the command fails', async (t) => {
  const rehearsal = await startInTheMiddle(t);
  const inner = (await processesOf(rehearsal)).filter(
    ({ command }) => command.startsWith(`${process.execPath} `) && command.includes(' rehearse --inside '),
  );
  t.equal(inner.length, 1);
  for (const { pid } of inner) process.kill(pid, 'SIGKILL');
  const { code, err } = await rehearsal.ended();
  t.equal(code, 1);
  // unshare(1) of util-linux 2.38 complains and ends with 1, others end by the same signal.
  t.match(err, /^unshare: |^rehearse: the rehearsal in the namespaces was ended by SIGKILL\n/);
  await eventually(
    () => processesOf(rehearsal),
    (processes) => processes.length === 0,
  );
});
