import t from 'tap';

import { checkNothingLeft, startRehearsal } from '../fixtures/e2e-rehearse.js';

const TARGET = 'dvm-rehearsal\\.apps\\.target\\.test:443';

/** What each proxy of a row has to say of the probe and of rsync, by its name. */
const ROWS = [
  { chain: '2', saw: ['spliceway 1', 'spliceway 2'] },
  { chain: 'spliceway,squid', saw: ['spliceway 1', 'squid 2'] },
  { chain: 'squid,spliceway', saw: ['squid 1', 'spliceway 2'] },
];

for (const { chain, saw } of ROWS) {
  t.test(`--chain ${chain} migrates where source and target have no other way`, async (t) => {
    const rehearsal = await startRehearsal(t, ['--size', '2MiB', '--files', '20', '--chain', chain]);
    const { code, out, err } = await rehearsal.ended();
    t.equal(err, '');
    if (!t.equal(code, 0)) t.comment(out);
    t.match(out, /^ {2}namespaces +source - proxy 1 - proxy 2 - target: .* none forwards$/m);
    t.match(
      out,
      /^ {2}no route +in the source ip route get 10\.99\.2\.2: .*unreachable; in the target ip route get 10\.99\.0\.1: .*unreachable$/m,
    );
    t.match(out, /^ {2}arrived +sha256 [0-9a-f]{64} \(equal\)$/m);
    const reports = out.split('\n\nThe tunnels as ').slice(1);
    t.equal(reports.length, saw.length, 'every proxy reports');
    for (const [index, name] of saw.entries()) {
      const report = reports[index] ?? '';
      t.ok(report.startsWith(`${name} saw them\n`), name);
      if (name.startsWith('squid')) {
        const lines = report.match(new RegExp(`^ {2}200 CONNECT ${TARGET} by rehearsal, .*$`, 'gm')) ?? [];
        t.equal(lines.length, 2, 'nc -z and rsync');
        const way = index === 0 ? 'FIRSTUP_PARENT/10.99.1.2' : 'HIER_DIRECT/10.99.2.2';
        for (const line of lines) t.match(line, `, ${way}, `);
      } else {
        t.match(report, new RegExp(`^ {2}\\w+ +nc -z probe +${TARGET} +\\d+ B `, 'm'));
        t.match(report, new RegExp(`^ {2}\\w+ +rsync +${TARGET} +[12]\\.\\d MiB `, 'm'));
      }
    }
    await checkNothingLeft(t, rehearsal);
  });
}
