import t from 'tap';

import { ProgressBar, parseProgress } from '../../src/commands/rehearsal/progress.js';

// As rsync 3 writes it: a carriage return before every line of progress, the names of files in between.
const SAID = [
  '2026/01/02 03:04:05 [77] building file list\n',
  '\r              0   0%    0.00kB/s    0:00:00  ',
  '\r         32.77K   0%    1.12MB/s    0:00:09 (xfr#1, ir-chk=1000/1002)\nfiles/100% sure.dat\n',
  '\r        123.45M  45%  110.23MB/s    0:00:01  ',
].join('');

t.test('progress is read from what rsync writes', async (t) => {
  t.same(parseProgress(SAID), { percent: 45, speed: '110.23MB/s', time: '0:00:01' });
  t.equal(parseProgress('files/100% sure.dat\n'), undefined);
  t.equal(parseProgress(''), undefined);
});

const show = (
  terminal: { readonly isTTY?: boolean; readonly columns?: number },
  percents: readonly number[],
): string => {
  let shown = '';
  const bar = new ProgressBar({ ...terminal, write: (text) => (shown += text) });
  for (const percent of percents) bar.show({ percent, speed: '1.00MB/s', time: '0:00:01' });
  bar.done();
  return shown;
};

t.test('on a terminal it is one line, which fits and never goes back', async (t) => {
  const lines = show({ isTTY: true, columns: 60 }, [1, 50, 40, 100]).split('\r').slice(1);
  t.same(
    lines.map((line) => /(\d+) %/.exec(line)?.[1]),
    ['1', '50', '50', '100'],
  );
  t.ok(lines.every((line) => line.trimEnd().length <= 60));
  t.notMatch(lines.slice(0, -1).join(''), '\n');
  t.match(lines.at(-1), /^ {2}\[#+\].*\n$/, 'full, and the line is left at the end');
});

t.test('elsewhere it is a line at every tenth', async (t) => {
  const lines = show({}, [0, 3, 9, 10, 19, 25, 24, 100]).trimEnd().split('\n');
  t.same(
    lines.map((line) => line.trim().split(/\s{2,}/)),
    [
      ['10 %', '1.00MB/s', '0:00:01'],
      ['20 %', '1.00MB/s', '0:00:01'],
      ['100 %', '1.00MB/s', '0:00:01'],
    ],
  );
});
