import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, get, type IncomingMessage, type Server } from 'node:http';
import { createServer as createTlsServer, get as getOverTls } from 'node:https';
import type { AddressInfo } from 'node:net';
import { ProxyAgent } from 'proxy-agent';
import t, { type Test } from 'tap';

import { makeCertificate } from '../fixtures/parents.js';
import { PASSWORD, startProxy, USER } from '../fixtures/proxy.js';

const HOST = 'target.test';

t.test('npm proxy-agent finds spliceway in the environment, for http and for https', async (t) => {
  const { certificateFile, keyFile } = makeCertificate(t, `DNS:${HOST}`);
  const ca = readFileSync(certificateFile);
  const plain = await listening(t, createServer());
  const secure = await listening(t, createTlsServer({ cert: ca, key: readFileSync(keyFile) }));
  const proxy = await startProxy(t, ['--allow', `127.0.0.0/8:${plain},${secure}`]);
  const url = (password: string) => `http://${USER}:${password}@${proxy.host}:${proxy.port}`;
  setProxy(t, url(PASSWORD));
  const agent = new ProxyAgent();
  t.teardown(() => agent.destroy());

  t.same(await answerOf(get(`http://${HOST}:${plain}/a?b`, { agent })), [
    200,
    `GET /a?b of ${HOST}:${plain}`,
  ]);
  t.match(await closeOf(plain), { method: 'GET', user: USER, status: 200, cause: 'complete' });
  const tls = { agent, ca };
  t.same(await answerOf(getOverTls(`https://${HOST}:${secure}/c`, tls)), [
    200,
    `GET /c of ${HOST}:${secure}`,
  ]);
  agent.destroy();
  const tunnel = await closeOf(secure);
  t.match(tunnel, { user: USER, engine: 'splice' });
  t.notOk('method' in tunnel, 'by CONNECT');

  await t.test('and sees the refusal where the password is wrong', async (t) => {
    setProxy(t, url('wrong'));
    const stranger = new ProxyAgent();
    t.teardown(() => stranger.destroy());
    const refusal = /^credentials_rejected: .*\n.+\n$/;
    t.match(await answerOf(get(`http://${HOST}:${plain}/`, { agent: stranger })), [407, refusal]);
    t.match(await answerOf(getOverTls(`https://${HOST}:${secure}/`, { agent: stranger })), [407, refusal]);
  });

  function closeOf(port: number) {
    return proxy.until(({ event, target }) => event === 'close' && target === `${HOST}:${port}`);
  }
});

/** A server that says what it was asked for. */
async function listening(t: Test, server: Server): Promise<number> {
  server.on('request', ({ method, url, headers }, response) =>
    response.end(`${method} ${url} of ${headers.host}`),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return (server.address() as AddressInfo).port; // A TCP server that listens has one.
}

/** Until the end of the test. */
function setProxy(t: Test, url: string): void {
  for (const name of ['HTTP_PROXY', 'HTTPS_PROXY']) {
    const before = process.env[name];
    process.env[name] = url;
    t.teardown(() => {
      if (before === undefined) delete process.env[name];
      else process.env[name] = before;
    });
  }
}

async function answerOf(request: ReturnType<typeof get>): Promise<[status: number, body: string]> {
  const [answer] = (await once(request, 'response')) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  return [answer.statusCode ?? 0, Buffer.concat(chunks).toString()];
}
