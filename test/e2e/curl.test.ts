import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:https';

import t from 'tap';

import { makeKeyPair, startSpliceway } from '../../src/commands/rehearsal/parties.js';
import { findPrograms } from '../../src/commands/rehearsal/programs.js';
import { createWorkspace } from '../fixtures/e2e-clusters.js';

t.test('curl goes through, and shows why when it may not', async (t) => {
  const { curl } = await findPrograms({ curl: { executables: ['curl'], debianPackage: 'curl' } });
  const workspace = await createWorkspace(t);
  const { certificateFile, keyFile } = await makeKeyPair(workspace);
  const origin = createServer(
    { cert: await readFile(certificateFile), key: await readFile(keyFile) },
    (request, response) => response.end(`${request.method} ${request.url} of ${request.headers.host}`),
  );
  origin.listen(0, '127.0.0.1');
  await once(origin, 'listening');
  t.teardown(() => origin.close());
  const address = origin.address();
  const port = typeof address === 'object' ? address?.port : undefined;

  const credentials = { username: 'migration', password: 'p:ass word' };
  const spliceway = await startSpliceway(workspace, { credentials, allow: [`127.0.0.0/8:${port}`] });
  const get = async (url: string, user = `${credentials.username}:${credentials.password}`) => {
    const proxy = ['-x', `http://127.0.0.1:${spliceway.port}`, '--proxy-user', user];
    return new Promise<{ code: unknown; out: string; err: string }>((resolve) => {
      // Without the environment: the caller's own proxy variables are not what is tried here.
      execFile(curl, ['-q', '-sSvk', '-m', '20', ...proxy, url], { env: {} }, (error, out, err) =>
        resolve({ code: error === null ? 0 : error.code, out, err }),
      );
    });
  };

  const answered = await get(`https://www.target.localhost:${port}/a?b`);
  t.equal(answered.code, 0, answered.err);
  t.equal(answered.out, `GET /a?b of www.target.localhost:${port}`);

  const unknown = await get(`https://www.target.localhost:${port}/`, 'migration:wrong');
  t.equal(unknown.code, 56, 'curl: the proxy refused');
  t.match(unknown.err, /< HTTP\/1\.1 407 credentials_rejected: \S/);
  t.match(unknown.err, /< Proxy-Authenticate: Basic realm="spliceway"/i);
  t.match(unknown.err, /^curl: \(56\) .*\b407$/m);

  const denied = await get('https://other.target.localhost:444/');
  t.equal(denied.code, 56);
  t.match(denied.err, '< HTTP/1.1 403 destination_denied: other.target.localhost:444');
  t.match(denied.err, /^curl: \(56\) .*\b403$/m);
});
