import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { ProxyAgent } from 'proxy-agent';
import t, { type Test } from 'tap';
import { LOOPBACK } from './fixtures/forwarding.js';
import { PASSWORD, type RunningProxy, startProxy, USER } from './fixtures/proxy.js';

const run = promisify(execFile);

interface Setting {
  readonly proxy: RunningProxy;
  /** The proxy's URL, with credentials. */
  readonly through: string;
  /** An origin that tells what it got, and gives out random bytes at /bytes. */
  readonly origin: string;
  readonly directory: string;
  readonly bytes: Buffer;
  readonly requests: readonly IncomingMessage[];
}

async function setUp(t: Test): Promise<Setting> {
  const bytes = randomBytes(4 * 1024 * 1024);
  const requests: IncomingMessage[] = [];
  const server = createServer((message, response) => {
    requests.push(message);
    const hash = createHash('sha256');
    message.on('data', (chunk: Buffer) => hash.update(chunk));
    message.once('end', () => {
      if (message.url === '/bytes') response.end(message.method === 'HEAD' ? undefined : bytes);
      else response.end(`${message.method} ${message.url} ${hash.digest('hex')}\n`);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const proxy = await startProxy(t, LOOPBACK);
  const directory = t.testdir({});
  await writeFile(`${directory}/upload`, bytes);
  return {
    ...{ proxy, directory, bytes, requests },
    through: `http://${USER}:${PASSWORD}@127.0.0.1:${proxy.port}`,
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  };
}

t.test('curl gets, posts, uploads and offers HTTP/2', async (t) => {
  const { proxy, through, origin, directory, bytes, requests } = await setUp(t);
  const curl = async (...args: readonly string[]) =>
    (await run('curl', ['-sS', '--fail', '--max-time', '20', '--noproxy', '', '--proxy', through, ...args]))
      .stdout;
  const digest = createHash('sha256').update(bytes).digest('hex');
  const empty = createHash('sha256').digest('hex');

  t.equal(await curl(`${origin}/a//b?c=%2F`), `GET /a//b?c=%2F ${empty}\n`);
  t.equal(
    await curl('-d', 'hello', `${origin}/form`),
    `POST /form ${createHash('sha256').update('hello').digest('hex')}\n`,
  );
  t.match(await curl('-I', `${origin}/head`), /^HTTP\/1\.1 200 OK\r\n(?:.+\r\n)*\r\n$/);
  t.equal(
    await curl('-T', `${directory}/upload`, `${origin}/up`),
    `PUT /up ${digest}\n`,
    'with 100-continue',
  );
  t.equal(requests.at(-1)?.headers.expect, '100-continue');
  t.equal(
    await curl('-H', 'Transfer-Encoding: chunked', '-T', `${directory}/upload`, `${origin}/chunks`),
    `PUT /chunks ${digest}\n`,
  );
  t.equal(await curl('--http2', `${origin}/h2c`), `GET /h2c ${empty}\n`, 'the offer is not passed on');
  t.equal(requests.at(-1)?.headers.upgrade, undefined);
  t.equal(requests.at(-1)?.headers['http2-settings'], undefined);
  t.equal(await curl('--http1.0', `${origin}/old`), `GET /old ${empty}\n`);
  await curl('-o', `${directory}/download`, `${origin}/bytes`);
  t.ok((await readFile(`${directory}/download`)).equals(bytes), 'a download is whole');

  const connections = await proxy.metric('spliceway_connections_total');
  t.equal(
    await curl(`${origin}/1`, `${origin}/2`, `${origin}/3`),
    [1, 2, 3].map((i) => `GET /${i} ${empty}\n`).join(''),
  );
  t.equal(await proxy.metric('spliceway_connections_total'), connections + 1, 'on one connection');

  const refused = await run('curl', [
    '-sS',
    '-I',
    '--max-time',
    '20',
    '--noproxy',
    '',
    '--proxy',
    through,
    'http://169.254.169.254/',
  ]);
  t.match(refused.stdout, /^HTTP\/1\.1 403 destination_ip_prohibited: /);
  t.equal(refused.stderr, '', 'HEAD is answered without content');
  t.notOk(requests.some(({ rawHeaders }) => rawHeaders.some((name) => /^proxy-/i.test(name))));
});

t.test('wget and the agent of Node that people use get what they ask for', async (t) => {
  const { through, origin, directory, bytes } = await setUp(t);
  const env = { ...process.env, http_proxy: through, no_proxy: '' };
  await run('wget', ['-q', '-O', `${directory}/wget`, `${origin}/bytes`], { env });
  t.ok((await readFile(`${directory}/wget`)).equals(bytes), 'wget');

  const agent = new ProxyAgent({ getProxyForUrl: () => through });
  t.teardown(() => agent.destroy());
  for (let i = 0; i < 3; i += 1) {
    const asked = request(`${origin}/bytes`, { agent });
    asked.end();
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    const chunks: Buffer[] = [];
    for await (const chunk of answer) chunks.push(chunk);
    t.ok(Buffer.concat(chunks).equals(bytes), 'proxy-agent');
  }
});
