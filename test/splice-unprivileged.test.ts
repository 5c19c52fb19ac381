import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { receiveAll } from './fixtures/endings.js';
import { startProxy } from './fixtures/proxy.js';
import { listenOn, openTunnel } from './fixtures/sockets.js';

const USER = 1_000_670_001;

/** Whether this process can become that user: root can, but not in a user namespace that has no other. */
const hasUser = readFileSync('/proc/self/uid_map', 'latin1')
  .trim()
  .split('\n')
  .map((line) => line.trim().split(/ +/).map(Number))
  .some(([first = 0, , count = 0]) => USER >= first && USER < first + count);

/** As a pod of OpenShift: an arbitrary user without a name, no capability, none to be had, nothing that it may write. */
const AS_IN_A_POD = [
  'setpriv',
  ...(hasUser ? ['--reuid', String(USER), '--regid', '0', '--clear-groups'] : []),
  ...['--inh-caps=-all', '--bounding-set=-all', '--no-new-privs'],
  // The test runner's own additions want to write into the tree.
  ...['env', '--unset=NODE_OPTIONS'],
];

t.test('an arbitrary user without capabilities gets the splice engine, and bulk is spliced', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'spliceway-'));
  chmodSync(directory, 0o555);
  const peer = await listenOn(t);
  const proxy = await startProxy(t, ['--allow', `127.0.0.0/8:${peer.port}`, '--relay', 'splice'], {
    under: ['env', '-C', directory, ...AS_IN_A_POD],
  });
  const { client, upstream } = await openTunnel(t, proxy, peer);
  const bytes = randomBytes(64 * 1024 * 1024);
  client.end(bytes);
  const received = await receiveAll(upstream);
  t.ok(received.bytes.equals(bytes));
  upstream.end();
  await receiveAll(client);
  await proxy.until(({ event }) => event === 'close');

  const path = async (name: string) => proxy.metric(`spliceway_relay_path_bytes_total{path="${name}"}`);
  const [spliced, copied] = [await path('splice'), await path('copy')];
  t.equal(spliced + copied, bytes.length, 'every byte took one path');
  t.ok(spliced > copied, `${spliced} bytes spliced, ${copied} copied`);
  t.equal(await proxy.metric('spliceway_relay_pipes{state="in_use"}'), 0);
  t.equal(await proxy.metric('spliceway_relay_fallbacks_total{cause="pipe_pages"}'), 0);
  t.equal(await proxy.stop(), 0);
});
