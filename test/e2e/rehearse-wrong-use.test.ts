import t from 'tap';

import { checkNothingLeft, startRehearsal } from '../fixtures/e2e-rehearse.js';

t.test('all programs that are missing are named at once, with their packages', async (t) => {
  const rehearsal = await startRehearsal(t, [], '/nonexistent');
  const { code, err } = await rehearsal.ended();
  t.equal(code, 1);
  t.match(err, /^rehearse needs /);
  t.match(err, 'stunnel (Debian: apt-get install stunnel4)');
  t.match(err, 'rsync (Debian: apt-get install rsync)');
  await checkNothingLeft(t, rehearsal);
});

t.test('wrong use says what is wrong and ends with 64', async (t) => {
  const cases = [
    [['--size', 'much'], '--size much'],
    [['--size', '0'], '--size 0'],
    [['--files', '-1'], '--files'],
    [['--generation', '1.7'], '--generation 1.7: not one of 1.4, 1.5, 1.6, crane'],
    [['--chain', '0'], '--chain 0: not from 1 to 8 proxies'],
    [['--chain', '9'], '--chain 9: not from 1 to 8 proxies'],
    [['--chain', '-2'], '--chain'],
    [['--chain', ''], '--chain : write how many, or spliceway and squid'],
    [['--chain', 'spliceway,,squid'], '--chain spliceway,,squid: write how many'],
    [['--chain', 'squid,haproxy'], '--chain squid,haproxy: write how many'],
    [['--chain', Array(9).fill('squid').join()], ': not from 1 to 8 proxies'],
    [['--chain', '2', '--inside'], '--inside is for spliceway itself'],
    [['--colour'], '--colour'],
    [['now'], 'now'],
  ] as const;
  const started = cases.map(async ([args, expected]) => {
    const { code, err } = await (await startRehearsal(t, args)).ended();
    t.equal(code, 64, args.join(' '));
    t.match(err, expected);
  });
  await Promise.all(started);
});
