import t from 'tap';

import { checkNothingLeft, pathOfSlowRsync, startRehearsal } from '../fixtures/e2e-rehearse.js';

for (const [signal, exitCode] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  t.test(`${signal} in the middle of it leaves nothing`, async (t) => {
    const rehearsal = await startRehearsal(t, ['--size', '64MiB'], await pathOfSlowRsync(t));
    await rehearsal.saw(/probe .* succeeded/);
    rehearsal.child.kill(signal);
    const { code, err } = await rehearsal.ended();
    t.equal(code, exitCode);
    t.equal(err, `rehearse: ended by ${signal}; nothing is left running\n`);
    await checkNothingLeft(t, rehearsal);
  });
}
