import t, { type Test } from 'tap';
import { parse } from 'yaml';
import { printManifest } from './fixtures/print-manifest.js';
import { runCli } from './fixtures/run-cli.js';

const OPTIONS = ['--proxy', '192.0.2.10:3128', '--source-namespace', 'shop', '--dns-server', '192.0.2.53'];

const MINE = `# Ask the shop team first.
apiVersion: k8s.ovn.org/v1
kind: EgressFirewall
metadata:
  name: default
  namespace: shop # since 2023
spec:
  egress:
    # The bank.
    - to:
        dnsName: bank.example
      type: Allow
    - type: Allow
      to:
        cidrSelector: 192.0.2.10/32
      ports:
        - protocol: TCP
          port: 22
    # And nothing else!
    - type: Deny
      to:
        cidrSelector: 0.0.0.0/0
`;

/** The last object that is printed with this file. */
function changed(t: Test, mode: '--merge' | '--unmerge', text: string): string {
  const file = `${t.testdir({ 'firewall.yaml': text })}/firewall.yaml`;
  return (
    printManifest('source', [...OPTIONS, mode, file])
      .split('---\n')
      .at(-1) ?? ''
  );
}

/** Without the comment that is ours: it ends with an empty line. */
const belowComment = (text: string) => text.slice(text.indexOf('\n\n') + 2);

t.test('what is merged comes back as it was, with its comments and nothing of ours', async (t) => {
  const merged = changed(t, '--merge', MINE);
  t.match(merged, 'port: 3128');
  const unmerged = changed(t, '--unmerge', merged);
  t.equal(belowComment(unmerged), MINE);
  t.match(unmerged, /^# What was there, without the rules for the migration/);
  t.equal(changed(t, '--unmerge', unmerged), unmerged, 'and again');
  t.equal(changed(t, '--merge', unmerged), merged, 'and there once more');
});

t.test('in what a cluster kept of it, without comments, the same rules go', async (t) => {
  const merged = JSON.stringify(parse(changed(t, '--merge', MINE)));
  t.same(parse(changed(t, '--unmerge', merged)), parse(MINE));
});

t.test('rules of ours that come first take their comment with them', async (t) => {
  const deny = MINE.replace(/ {4}# The bank[\s\S]*(?= {4}# And)/, '');
  t.equal(belowComment(changed(t, '--unmerge', changed(t, '--merge', deny))), deny);
});

t.test('wider rules of somebody else stay', async (t) => {
  const wider = MINE.replace('192.0.2.10/32', '192.0.2.0/24').replace('port: 22', 'port: 3128');
  t.same(parse(changed(t, '--unmerge', wider)), parse(wider));
});

t.test('where no rule is left, the object can be deleted', async (t) => {
  const none = `${MINE.slice(0, MINE.indexOf('    # The bank')).trimEnd()} []\n`;
  const unmerged = changed(t, '--unmerge', changed(t, '--merge', none));
  t.same(parse(unmerged), parse(none));
  t.match(unmerged, /^# kubectl delete egressfirewall -n NAMESPACE NAME$/m);
  t.equal(changed(t, '--unmerge', unmerged), unmerged);
});

t.test('nothing else is printed: neither policies nor the proxy', async (t) => {
  const own = MINE.replace('namespace: shop', 'namespace: spliceway');
  const directory = t.testdir({ 'all.yaml': `${MINE}---\n${own}`, 'empty.yaml': '' });
  for (const [part, namespace, ...argv] of [
    ['source', 'shop'],
    ['proxy', 'spliceway', '--target-router', '203.0.113.10'],
  ] as const) {
    const options = ['manifest', part, ...OPTIONS, ...argv, '--egress-firewall', 'new', '--unmerge'];
    const { code, stdout, stderr } = await runCli([...options, `${directory}/all.yaml`]);
    t.equal(code, 0);
    t.equal(stderr, '', 'no password is invented either');
    t.match(parse(stdout), { kind: 'EgressFirewall', metadata: { namespace } }, part);
    const file = `${directory}/empty.yaml`;
    t.same(await runCli([...options, file]), {
      code: 0,
      stdout: '',
      stderr: `spliceway: ${file} has no EgressFirewall of ${namespace}: nothing to take out there\n`,
    });
  }
  for (const [argv, problem] of [
    [['host', '--password', 'x'], /--unmerge is for the egress firewalls of source and proxy/],
    [['source', '--merge', `${directory}/all.yaml`], /--merge puts rules in and --unmerge takes them out/],
  ] as const) {
    const run = await runCli(['manifest', ...argv, ...OPTIONS, '--unmerge', `${directory}/all.yaml`]);
    t.equal(run.code, 64);
    t.match(run.stderr, problem);
    t.equal(run.stdout, '');
  }
});
