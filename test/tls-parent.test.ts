import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { resetNow } from '../src/relay/reset.js';
import { receiveAll } from './fixtures/endings.js';
import { makeCertificate, type PlayedParent, playTlsParent } from './fixtures/parents.js';
import { type RunningProxy, startProxy } from './fixtures/proxy.js';
import { connectHead, connectRaw, exchange, readBytes, readHead, readToEnd } from './fixtures/sockets.js';

const TARGET = 'dvm.apps.target.example:443';

/** A parent inside TLS, and a proxy that trusts it. */
async function start(t: Test): Promise<readonly [PlayedParent<TLSSocket>, RunningProxy]> {
  const certificate = makeCertificate(t, 'IP:127.0.0.1');
  const parent = await playTlsParent(t, certificate);
  const proxy = await startProxy(t, ['--parent', parent.url], {
    env: { NODE_EXTRA_CA_CERTS: certificate.certificateFile },
  });
  return [parent, proxy];
}

/** A tunnel through the parent, which is the upstream itself. */
async function open(
  t: Test,
  parent: PlayedParent<TLSSocket>,
  proxy: RunningProxy,
  early = '',
): Promise<{ readonly client: Socket; readonly upstream: TLSSocket }> {
  const client = await connectRaw(t, proxy);
  client.write(connectHead(TARGET));
  const { socket: upstream, head } = await parent.asked();
  t.match(head, `CONNECT ${TARGET} HTTP/1.1`);
  upstream.write(`HTTP/1.1 200 OK\r\n\r\n${early}`);
  const { status, rest } = await readHead(client);
  t.equal(status, 200);
  if (rest.length > 0) client.unshift(rest);
  return { client, upstream };
}

/** What a connection fails with; undefined where it just closes. */
function failureOf(socket: TLSSocket): Promise<string | undefined> {
  return new Promise((resolve) => {
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code));
    socket.once('close', () => resolve(undefined));
    socket.resume();
  });
}

t.test('through a parent inside TLS', async (t) => {
  const [parent, proxy] = await start(t);

  await t.test('bytes go both ways, those behind its answer first', async (t) => {
    const { client, upstream } = await open(t, parent, proxy, 'early ');
    upstream.write('bird');
    t.equal((await readBytes(client, 10)).toString(), 'early bird');
    const much = Buffer.alloc(3_000_000, 'spliceway');
    client.end(much);
    const received = await readToEnd(upstream);
    t.equal(received.end, 'fin');
    t.ok(received.bytes.equals(much));
    upstream.end('thank you');
    t.same(await receiveAll(client), { bytes: Buffer.from('thank you'), end: 'fin' });
    const close = await proxy.until(({ event, bytesUp }) => event === 'close' && bytesUp === much.length);
    t.match(close, { engine: 'stream', parent: parent.url, cause: 'client_fin', bytesDown: 19 });
  });

  await t.test('the end of file of the upstream leaves the other half open', async (t) => {
    const { client, upstream } = await open(t, parent, proxy);
    upstream.end('that was all');
    t.same(await readToEnd(client), { bytes: Buffer.from('that was all'), end: 'fin' });
    client.write('not yet');
    t.equal((await readBytes(upstream, 7)).toString(), 'not yet');
    client.end();
    t.equal((await readToEnd(upstream)).end, 'fin');
  });

  await t.test('a reset of the upstream resets the client, behind its last words', async (t) => {
    const { client, upstream } = await open(t, parent, proxy);
    upstream.write('last words', () => resetNow(upstream));
    t.same(await receiveAll(client), { bytes: Buffer.from('last words'), end: 'reset' });
    t.ok(await proxy.until(({ cause }) => cause === 'upstream_reset'));
  });

  await t.test('so does one behind its end of file', async (t) => {
    const { client, upstream } = await open(t, parent, proxy);
    upstream.end('half');
    t.same(await readToEnd(client), { bytes: Buffer.from('half'), end: 'fin' });
    resetNow(upstream);
    t.ok(await proxy.until(({ cause, bytesDown }) => cause === 'upstream_reset' && bytesDown === 4));
    // Node does not watch a socket whose end of file it has read.
    await t.rejects(new Promise((_, reject) => client.write('?', reject)));
  });

  await t.test('a reset of the client resets the upstream, behind its last words', async (t) => {
    const { client, upstream } = await open(t, parent, proxy);
    client.write('last words', () => resetNow(client));
    t.equal((await readBytes(upstream, 10)).toString(), 'last words');
    t.equal(await failureOf(upstream), 'ECONNRESET');
    t.ok(await proxy.until(({ cause }) => cause === 'client_reset'));
  });

  await t.test('the end of a drain cuts what is left, with resets', async (t) => {
    const { client, upstream } = await open(t, parent, proxy);
    const failure = failureOf(upstream);
    const stopped = proxy.stop('SIGTERM');
    await proxy.until(({ event }) => event === 'draining');
    proxy.process.kill('SIGINT');
    t.equal(await stopped, 1);
    t.equal((await receiveAll(client)).end, 'reset');
    t.equal(await failure, 'ECONNRESET');
  });
});

t.test('a parent whose certificate is not trusted, or of another name, is none', async (t) => {
  const certificate = makeCertificate(t, 'DNS:other.test');
  const parent = await playTlsParent(t, certificate);
  const proxies = [
    { env: {}, why: 'DEPTH_ZERO_SELF_SIGNED_CERT' },
    { env: { NODE_EXTRA_CA_CERTS: certificate.certificateFile }, why: 'ERR_TLS_CERT_ALTNAME_INVALID' },
  ];
  for (const { env, why } of proxies) {
    const proxy = await startProxy(t, ['--parent', parent.url], { env });
    const { status, phrase } = await exchange(t, proxy, connectHead(TARGET));
    t.equal(status, 502);
    t.match(phrase, `parent_protocol_error: ${parent.url}: its certificate is not trusted (${why})`);
    t.match(phrase, 'NODE_EXTRA_CA_CERTS');
  }
});

t.test('a parent that does not speak TLS is said to fail', async (t) => {
  const parent = await startProxy(t);
  const proxy = await startProxy(t, ['--parent', `https://127.0.0.1:${parent.port}`]);
  const { status, phrase } = await exchange(t, proxy, connectHead(TARGET));
  t.equal(status, 502);
  t.match(phrase, 'parent_protocol_error');
});
