import t from 'tap';

import { checkNothingLeft, startRehearsal } from '../fixtures/e2e-rehearse.js';

const ORDINARY_USER = ['unshare', '--user', '--map-user=1000', '--map-group=1000'];

t.test('an ordinary user who may make namespaces needs no root for a chain', async (t) => {
  const args = ['--size', '256KiB', '--files', '5', '--chain', 'squid', '--generation', '1.4'];
  const rehearsal = await startRehearsal(t, args, process.env.PATH, ORDINARY_USER);
  const { code, out, err } = await rehearsal.ended();
  t.equal(err, '');
  if (!t.equal(code, 0)) t.comment(out);
  t.match(out, /^ {2}arrived +sha256 [0-9a-f]{64} \(equal\)$/m);
  t.match(out, '\nThe tunnels as squid 1 saw them\n  200 CONNECT ');
  await checkNothingLeft(t, rehearsal);
});

t.test('where namespaces may not be made, it says what is missing and what to do', async (t) => {
  const limits = ['max_net_namespaces', 'max_user_namespaces'].map((name) => `/proc/sys/user/${name}`);
  const script = `for limit in ${limits.join(' ')}; do echo 0 >$limit; done; exec "$@"`;
  const under = ['unshare', '--user', '--map-root-user', '/bin/sh', '-ec', script, 'sh'];
  const rehearsal = await startRehearsal(t, ['--chain', '1'], process.env.PATH, under);
  const { code, err } = await rehearsal.ended();
  t.equal(code, 1);
  t.match(err, /^rehearse: --chain needs network namespaces, and may not make any: unshare: /);
  t.match(err, /^ {2}What to do: Run it as root, or allow unprivileged user namespaces .*--privileged/m);
  await checkNothingLeft(t, rehearsal);
});

t.test('all programs that a chain lacks are named at once, with their packages', async (t) => {
  const rehearsal = await startRehearsal(t, ['--chain', 'squid'], '/nonexistent');
  const { code, err } = await rehearsal.ended();
  t.equal(code, 1);
  t.match(err, /^rehearse needs rsync \(Debian: apt-get install rsync\), /);
  t.match(err, 'nsenter (Debian: apt-get install util-linux)');
  t.match(err, 'unshare (Debian: apt-get install util-linux)');
  await checkNothingLeft(t, rehearsal);
});
