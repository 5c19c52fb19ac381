import { readdir } from 'node:fs/promises';

import t from 'tap';

import { checkNothingLeft, startRehearsal } from '../fixtures/e2e-rehearse.js';

t.test('a rehearsal tells what went through, and leaves nothing', async (t) => {
  const rehearsal = await startRehearsal(t, ['--size', '8MiB']);
  const { code, out, err } = await rehearsal.ended();
  t.equal(err, '');
  t.equal(code, 0, out);
  t.match(out, /^ {2}100 %/m);
  t.match(out, /^ {2}speed +8\.0 MiB in \d+\.\d s, \d+\.\d MiB\/s$/m);
  t.match(out, /^ {2}arrived +sha256 [0-9a-f]{64} \(equal\)$/m);
  t.match(out, /^ {2}\w+ +rsync +dvm-rehearsal\.apps\.target\.localhost:\d+ +[\d.]+ MiB /m);
  await checkNothingLeft(t, rehearsal);
});

t.test('a failure shows what the program said and what to do, and leaves nothing', async (t) => {
  const rehearsal = await startRehearsal(t, ['--size', '64KiB', '--relay', 'teleport']);
  const { code, err } = await rehearsal.ended();
  t.equal(code, 1);
  t.match(err, /^rehearse: spliceway ended with code 64/);
  t.match(err, /^ {2}spliceway said:\n(?: {4}\| .*\n)*? {4}\| .*teleport/m);
  t.match(err, /^ {2}What to do: \S/m);
  t.notMatch(err, /^ +at /m, 'no stack trace');
  await checkNothingLeft(t, rehearsal);
});

t.test('--keep keeps the directory and says where it is', async (t) => {
  const rehearsal = await startRehearsal(t, ['--size', '64KiB', '--files', '0', '--keep']);
  const { code, out } = await rehearsal.ended();
  t.equal(code, 0);
  const kept = /^Kept: (.+)$/m.exec(out)?.[1] ?? '';
  t.ok(kept.startsWith(rehearsal.temporary));
  const files = await readdir(kept);
  for (const name of [
    'source',
    'destination',
    'stunnel-client.conf',
    'stunnel-client.log',
    'spliceway.log',
  ]) {
    t.ok(files.includes(name), name);
  }
});
