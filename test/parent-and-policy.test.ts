import t, { type Test } from 'tap';
import { playParent } from './fixtures/parents.js';
import { startProxy } from './fixtures/proxy.js';
import { connectHead, connectRaw, exchange, listenOn, readHead } from './fixtures/sockets.js';

const ASKED = 'the parent was asked';

/** What becomes of requests where everything goes through a parent: {@link ASKED}, or the refusal. */
async function outcomes(
  t: Test,
  rules: readonly string[],
  targets: readonly string[],
): Promise<readonly string[]> {
  const parent = await playParent(t);
  const proxy = await startProxy(t, [...rules, '--parent', parent.url]);
  const seen: string[] = [];
  for (const target of targets) {
    const client = await connectRaw(t, proxy);
    client.write(connectHead(target));
    const asked = parent.asked().then(({ socket }) => socket.end(`HTTP/1.1 403 ${ASKED}\r\n\r\n`));
    asked.catch(() => {});
    const { phrase } = await readHead(client);
    seen.push(phrase.includes(ASKED) ? ASKED : phrase);
  }
  return seen;
}

t.test('without rules names go to a parent; addresses are judged here', async (t) => {
  const seen = await outcomes(
    t,
    [],
    [
      'a.example:443',
      '93.184.216.34:443',
      'a.example:80',
      '127.0.0.1:443',
      '169.254.169.254:443',
      '[::ffff:127.0.0.1]:443',
      'localhost:443',
      'a.localhost:6443',
    ],
  );
  t.same(seen.slice(0, 2), [ASKED, ASKED]);
  t.match(seen[2], /^destination_denied: a\.example:80 is not at port 443/);
  for (const phrase of seen.slice(3)) t.match(phrase, /^destination_ip_prohibited/);
});

t.test('a name goes to a parent where a rule names it, never by an address range alone', async (t) => {
  const seen = await outcomes(
    t,
    ['--allow', '*.apps.example:443', '--allow', '10.0.0.0/8:443', '--deny', 'b.apps.example:443'],
    ['a.apps.example:443', '10.1.2.3:443', 'b.apps.example:443', 'private.test:443', 'a.apps.example:6443'],
  );
  t.same(seen.slice(0, 2), [ASKED, ASKED]);
  t.match(seen[2], /^destination_denied: b\.apps\.example:443 matches deny rule/);
  t.match(
    seen[3],
    'destination_denied: private.test:443 matches no allow rule by name, and by address it cannot be judged: the parent proxy resolves it; add --allow private.test:443, or --parent private.test:443=direct',
  );
  t.match(seen[4], /^destination_denied/);
});

t.test('a rule that opens loopback opens localhost to a parent', async (t) => {
  t.same(await outcomes(t, ['--allow', '127.0.0.0/8:443'], ['localhost:443']), [ASKED]);
});

t.test('what the policy refuses on one way is not tried on another', async (t) => {
  const parent = await playParent(t);
  const proxy = await startProxy(t, [
    ...['--allow', 'private.test:443', '--deny', '10.0.0.0/8:443'],
    ...['--parent', `direct,${parent.url}`],
  ]);
  const { status, phrase } = await exchange(t, proxy, connectHead('private.test:443'));
  t.equal(status, 403);
  t.match(phrase, /^destination_denied: private\.test:443 \(10\.77\.0\.1\) matches deny rule/);
  t.equal(await proxy.stop(), 0);
  const decisions = proxy.log.filter(({ event }) => event === 'decision');
  t.match(decisions, [{ decision: 'refused' }]);
  t.equal(decisions.length, 1);
});

t.test('a SOCKS parent that does not resolve is told an address that the policy has judged', async (t) => {
  const parent = await listenOn(t);
  const proxy = await startProxy(t, [
    ...['--allow', '10.77.0.0/16:443', '--parent', `socks5://127.0.0.1:${parent.port}`],
  ]);
  const refused = await exchange(t, proxy, connectHead('metadata.test:443'));
  t.match(refused.phrase, /^destination_ip_prohibited: metadata\.test:443 \(169\.254\.169\.254\)/);
  const client = await connectRaw(t, proxy);
  // One of its addresses is denied.
  client.write(connectHead('mixed.test:443'));
  const socket = await parent.next();
  const said: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => {
    said.push(chunk);
    socket.write(said.length === 1 ? Buffer.from([5, 0]) : Buffer.from([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]));
  });
  socket.resume();
  t.equal((await readHead(client)).status, 200);
  t.same(Buffer.concat(said), Buffer.from([5, 1, 0, 5, 1, 0, 1, 10, 77, 0, 1, 443 >> 8, 443 & 255]));
  client.resetAndDestroy();
  t.match(await proxy.until(({ event, cause }) => event === 'close' && cause !== undefined), {
    address: '10.77.0.1:443',
    parent: `socks5://127.0.0.1:${parent.port}`,
  });
});
