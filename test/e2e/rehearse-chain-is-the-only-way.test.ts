import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { promisify } from 'node:util';

import t from 'tap';

import { describeFailure, RehearsalFailure } from '../../src/commands/rehearsal/failure.js';
import { openLine } from '../../src/commands/rehearsal/line.js';
import { migrate } from '../../src/commands/rehearsal/migration.js';
import type { Workspace } from '../../src/commands/rehearsal/workspace.js';
import { createWorkspace } from '../fixtures/e2e-clusters.js';

const NAME = 'dvm.apps.target.test';

/** What a command says in a place, on both outputs. */
async function say({ place }: Workspace, ...argv: readonly string[]): Promise<string> {
  const [program = '', ...args] = [...place.enter, ...argv];
  const said = await promisify(execFile)(program, args, { timeout: 10_000 }).catch(
    (error: Error & { stdout: string; stderr: string }) => error,
  );
  return `${said.stdout}${said.stderr}`;
}

t.test('everybody in the line reaches his neighbours and nobody else', async (t) => {
  const workspace = await createWorkspace(t);
  const { source, proxies, target, proof } = await openLine(workspace, { proxies: 2, routeHost: NAME });
  t.match(proof, /^in the source .*: Network is unreachable; in the target .*: Network is unreachable$/s);
  const [first, last] = proxies;
  if (first === undefined || last === undefined) throw new Error('there are two proxies');
  const connect = (from: Workspace, address: string) => say(from, 'nc', '-zvw5', address, '443');

  const far = { target: target.place.address, last: last.place.address, source: source.place.address };
  for (const [from, to] of [
    [source, far.target],
    [source, far.last],
    [first, far.target],
    [last, far.source],
    [target, far.source],
    [target, first.place.address],
  ] as const)
    t.match(await connect(from, to), 'Network is unreachable', `${from.place.name} to ${to}`);
  // Nothing listens: that it is said so is an answer.
  t.match(await connect(source, first.place.address), 'Connection refused');
  t.match(await connect(first, far.last), 'Connection refused');
  t.match(await connect(last, far.target), 'Connection refused');

  for (const place of [source, first, last, target]) {
    const forwards = await say(place, 'cat', '/proc/sys/net/ipv4/ip_forward');
    t.equal(forwards, '0\n', `${place.place.name} does not forward`);
    t.match(await say(place, 'getent', 'hosts', 'localhost'), 'localhost');
    const found = await say(place, 'getent', 'ahostsv4', NAME);
    if (place === last) t.match(found, far.target, 'the last proxy knows the name of the target');
    else t.equal(found, '', `${place.place.name} does not know it`);
  }
});

t.test(
  'where a proxy in the row refuses, nothing arrives, and the report names it and the cause',
  async (t) => {
    const workspace = await createWorkspace(t);
    const step = (what: string) => {
      // Squid has not read it yet: nobody has asked for anything.
      if (what === 'squid 2') writeFileSync(workspace.path('squid-2.passwords'), 'somebody:else\n');
    };
    const failure = await migrate(
      workspace,
      { sizeBytes: 64 * 1024, files: 2, generation: '1.6', chain: ['spliceway', 'squid'] },
      { step, progress: () => {} },
    ).catch((error: unknown) => error);
    if (!(failure instanceof RehearsalFailure)) throw failure;
    const report = describeFailure(failure);
    t.match(report, /^rehearse: rsync ended with code \d+\n/);
    t.match(
      report,
      /stunnel client said:\n(?: {4}\| .*\n)* {4}\| .*<- HTTP\/1\.1 502 parent_credentials_rejected: /,
    );
    t.match(report, /10\.99\.1\.2:3128/, 'the parent is named');
    t.match(
      report,
      /spliceway 1 \(its tunnels\) said:\n(?: {4}\| .*\n)* {4}\| .*parent_credentials_rejected\n/,
    );
    t.match(report, /squid 2 \(its tunnels\) said:\n(?: {4}\| .*\n)* {4}\| 407 CONNECT dvm-rehearsal/);
  },
);
