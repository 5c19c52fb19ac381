import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import t from 'tap';

import { digestTree } from '../../src/commands/rehearsal/digest.js';
import { makeKeyPair } from '../../src/commands/rehearsal/parties.js';
import { transfer } from '../../src/commands/rehearsal/transfer.js';
import { createWorkspace, startClusters } from '../fixtures/e2e-clusters.js';
import { receiveAll } from '../fixtures/endings.js';
import { startForward } from '../fixtures/forward.js';
import { PASSWORD, startProxy, USER } from '../fixtures/proxy.js';
import { listenOn } from '../fixtures/sockets.js';
import { startSquid } from '../fixtures/squid.js';

const run = promisify(execFile);

t.test('rsync reaches its daemon through the port and Squid, as if it were there', async (t) => {
  const clusters = await startClusters(t);
  const { workspace, daemon, source, destination } = clusters;
  const squid = await startSquid(t, [daemon.port]);
  const parent = `http://${USER}:${PASSWORD}@${squid.host}:${squid.port}`;
  const port = await startForward(t, `target.test:${daemon.port}`, ['--parent', parent]);
  await transfer(workspace, { ...clusters, host: '127.0.0.1', port: port.port });
  t.equal(
    (await digestTree(destination, workspace.signal)).sha256,
    (await digestTree(source, workspace.signal)).sha256,
    'what arrived is what was sent',
  );
  t.match(await port.until(({ event }) => event === 'close'), { engine: 'splice', parent: /^http:/ });
  t.equal(await port.stop(), 0);
});

t.test('curl speaks TLS to the target behind the port', async (t) => {
  const workspace = await createWorkspace(t);
  const { certificateFile, keyFile } = await makeKeyPair(workspace);
  const origin = createServer(
    { cert: await readFile(certificateFile), key: await readFile(keyFile) },
    (request, response) => response.end(`${request.method} ${request.url} of ${request.headers.host}`),
  );
  origin.listen(0, '127.0.0.1');
  await once(origin, 'listening');
  t.teardown(() => origin.close());
  const { port: originPort } = origin.address() as AddressInfo; // A TCP server that listens has one.
  const proxy = await startProxy(t, [
    '--allow',
    `*.target.localhost:${originPort}`,
    '--allow',
    '127.0.0.0/8:*',
  ]);
  const parent = `http://${USER}:${PASSWORD}@127.0.0.1:${proxy.port}`;
  const port = await startForward(t, `www.target.localhost:${originPort}`, ['--parent', parent]);
  const there = `www.target.localhost:443:127.0.0.1:${port.port}`;
  const { stdout } = await run('curl', [
    '-q',
    '-sSk',
    '-m',
    '20',
    '--connect-to',
    there,
    'https://www.target.localhost/a?b',
  ]);
  t.equal(stdout, 'GET /a?b of www.target.localhost');
  t.equal(await port.stop(), 0);
});

t.test('nc hands a file over, and its end', async (t) => {
  const bytes = randomBytes(3 * 1024 * 1024);
  const file = `${t.testdir({ file: bytes })}/file`;
  const peer = await listenOn(t);
  const port = await startForward(t, `127.0.0.1:${peer.port}`);
  const nc = run('bash', ['-c', 'nc.openbsd -N "$1" "$2" < "$3"', '-', port.host, String(port.port), file]);
  const upstream = await peer.next();
  const received = await receiveAll(upstream);
  t.equal(received.end, 'fin');
  t.ok(received.bytes.equals(bytes));
  upstream.end('thanks');
  t.equal((await nc).stdout, 'thanks');
  t.equal(await port.stop(), 0);
});
