import { chmod } from 'node:fs/promises';

import t from 'tap';

import { checkNothingLeft, startRehearsal } from '../fixtures/e2e-rehearse.js';

// A minute's work, so that the middle of it is not over before the signal comes.
const SLOW_RSYNC = `#!/bin/sh
PATH=/usr/local/bin:/usr/bin:/bin
exec rsync --bwlimit=1000 "$@"
`;

for (const [signal, exitCode] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  t.test(`${signal} in the middle of it leaves nothing`, async (t) => {
    const programs = t.testdir({ rsync: SLOW_RSYNC });
    await chmod(`${programs}/rsync`, 0o755);
    const path = `${programs}:${process.env.PATH}`;
    const rehearsal = await startRehearsal(t, ['--size', '64MiB'], path);
    await rehearsal.saw(/probe .* succeeded/);
    rehearsal.child.kill(signal);
    const { code, err } = await rehearsal.ended();
    t.equal(code, exitCode);
    t.equal(err, `rehearse: ended by ${signal}; nothing is left running\n`);
    await checkNothingLeft(t, rehearsal);
  });
}
