import t from 'tap';

import { digestTree } from '../../src/commands/rehearsal/digest.js';
import { readTunnels } from '../../src/commands/rehearsal/tunnels.js';
import { Containers } from '../fixtures/compose-containers.js';
import { inARow, readComposeFile, serviceOf } from '../fixtures/compose-file.js';

const SMALL = { SIZE_MIB: '8' };
const file = readComposeFile(SMALL);
const containers = await Containers.create(t, file);
const target = await containers.start(file, 'target');

const wrong = readComposeFile({ ...SMALL, PROXY_PASSWORD: 'wrong' });
const wrongProxy = await containers.start(wrong, 'proxy');

t.test('where the source could reach the target, it says so and stops', async (t) => {
  const [, beside] = inARow(file);
  const source = await containers.start(file, 'source', beside);
  t.same(await source.ended(), { code: 1, signal: null });
  t.match(await source.log(), /^ {2}failed .*the source reaches the target at 10\.\S+ without the proxy$/m);
});

t.test('a wrong password ends it with the refusal, and nothing arrives', async (t) => {
  const source = await containers.start(wrong, 'source');
  t.same(await source.ended(), { code: 1, signal: null });
  const said = await source.log();
  t.match(said, /^ {2}failed +(?:the probe|rsync), and stunnel's log says why:$/m);
  t.match(said, /^ {4}\| .* <- HTTP\/1\.1 407 credentials_\w+: /m);
  t.notMatch(said, 'equal');
  const password = String(serviceOf(file, 'proxy').environment?.SPLICEWAY_PASSWORD);
  for (const secret of [password, Buffer.from(`migration:${password}`).toString('base64')]) {
    t.notMatch(said, secret, 'the password is not shown');
  }
  const { entries } = await digestTree(containers.volume('target-volume'), new AbortController().signal);
  t.equal(entries, 0);
  await wrongProxy.stop();
});

t.test('the volume goes through the proxy, and the source has no other way', async (t) => {
  const proxy = await containers.start(file, 'proxy');
  const source = await containers.start(file, 'source');
  const exit = await source.ended();
  const said = await source.log();
  if (!t.same(exit, { code: 0, signal: null })) return t.comment(said, await target.log(), await proxy.log());

  t.match(said, /^ {2}no route .* port 443 \(tcp\) failed: Network is unreachable$/m);
  const [, before, arrived] =
    /^ {2}source +sha256 ([0-9a-f]{64})\n {2}arrived +sha256 ([0-9a-f]{64}) \(equal\)$/m.exec(said) ?? [];
  t.equal(arrived, before ?? 'a checksum of the source');
  t.match(said, /^ {2}speed +8 MiB in \d+\.\d s, \d+ MiB\/s$/m);
  const { signal } = new AbortController();
  const volumes = ['source-volume', 'target-volume'].map((name) => containers.volume(name));
  const [sent, received] = await Promise.all(volumes.map((path) => digestTree(path, signal)));
  t.same(received, sent, 'by another checksum, too');
  t.equal(sent?.contentBytes, 8 * 1024 * 1024);

  // Docker sends the others SIGTERM once the source has ended.
  for (const child of [proxy, target]) {
    await child.stop();
    t.same(await child.ended(), { code: 0, signal: null }, `${child.name} ends by itself when it is told to`);
  }
  // rsync's request may overtake that of the probe, which does not wait for its answer.
  const tunnels = [...readTunnels(await proxy.log())].sort(
    (one, other) => Number(other.probe) - Number(one.probe),
  );
  t.match(
    tunnels.map(({ user, target, probe, closed }) => ({ user, target, probe, closed })),
    [
      { user: 'migration', target: 'target:443', probe: true, closed: true },
      { user: 'migration', target: 'target:443', probe: false, closed: true },
    ],
  );
  t.ok((tunnels[1]?.bytesUp ?? 0) > 8 * 1024 * 1024, 'all of it went through the second one');
  t.match(
    said,
    `tunnels     ${tunnels.map(({ id }) => id).join(', ')} (the probe, rsync)`,
    'the source names them',
  );
  t.match(
    await target.log(),
    / sni=target -> be_tcp:dvm\/stunnel, /,
    'the router went by the name in the TLS handshake',
  );
});
