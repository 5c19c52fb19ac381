import { type ExecFileException, execFile } from 'node:child_process';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import type { Reason } from '../src/reasons.js';
import { type RunningProxy, startProxy } from './fixtures/proxy.js';
import { checkRefusal } from './fixtures/refusals.js';
import { connectRaw, listenOn, openTunnel, readBytes } from './fixtures/sockets.js';

/** A TLS 1.0 record with a ClientHello in it, cut short. */
const CLIENT_HELLO = Buffer.from('1603010200010001fc0303', 'hex');

const FIRST_BYTES: readonly (readonly [what: string, bytes: Buffer, reason: Reason, says: RegExp])[] = [
  ['TLS ClientHello', CLIENT_HELLO, 'tls_on_plain_port', /use http:\/\/ in the proxy URL/],
  [
    'SSH banner',
    Buffer.from('SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n'),
    'ssh_on_http_port',
    /CONNECT host:port first/,
  ],
  ['SOCKS 4', Buffer.from([4, 1, 0, 80, 192, 0, 2, 1, 0]), 'socks_on_http_port', /not a SOCKS proxy/],
  ['SOCKS 5', Buffer.from([5, 1, 0]), 'socks_on_http_port', /not a SOCKS proxy/],
  [
    'HTTP/2 preface',
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    'http2_on_http1_port',
    /speak HTTP\/1\.1/,
  ],
  ['zeros', Buffer.alloc(100), 'not_http', /what arrived is not HTTP/],
  ['all bytes', Buffer.from(Array.from({ length: 256 }, (_, i) => 255 - i)), 'not_http', /not HTTP/],
  ['SMTP', Buffer.from('EHLO client.test\r\n'), 'not_http', /not HTTP/],
  ['rsync', Buffer.from('@RSYNCD: 31.0\n'), 'not_http', /not HTTP/],
  ['PROXY protocol', Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n'), 'not_http', /not HTTP/],
  ['Redis', Buffer.from('*1\r\n$4\r\nPING\r\n'), 'not_http', /not HTTP/],
];

t.test('what is not HTTP is told so, counted by kind, and troubles nobody else', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, ['--allow', '127.0.0.0/8:*']);
  const bystander = await openTunnel(t, proxy, peer);

  for (const [what, bytes, reason, says] of FIRST_BYTES) {
    await t.test(what, async (t) => {
      const series = `spliceway_requests_total{code="400",reason="${reason}"}`;
      const before = await proxy.metric(series);
      await checkRefusal(t, proxy, bytes, { status: 400, reason, says });
      t.equal(await proxy.metric(series), before + 1);
    });
  }

  // What real programs send, and what they then show.
  await t.test('openssl s_client', async (t) => {
    const { output } = await counted(t, proxy, 'tls_on_plain_port', 'openssl', [
      's_client',
      '-connect',
      `${proxy.host}:${proxy.port}`,
    ]);
    t.match(output, /wrong version number|unexpected/i);
  });
  const at = `${proxy.host}:${proxy.port}`;
  const curl = ['--silent', '--show-error', '--max-time', '20'];
  await t.test('curl to a proxy over TLS', async (t) => {
    const flags = [...curl, '--proxy', `https://${at}`, 'https://host.test/'];
    const { code } = await counted(t, proxy, 'tls_on_plain_port', 'curl', flags);
    t.equal(code, 35, 'no TLS connection');
  });
  for (const version of ['socks4', 'socks5h']) {
    await t.test(`curl to a ${version} proxy`, async (t) => {
      const flags = [...curl, '--proxy', `${version}://${at}`, 'http://192.0.2.1/'];
      const { code } = await counted(t, proxy, 'socks_on_http_port', 'curl', flags);
      t.equal(code, 97, 'no SOCKS handshake');
    });
  }
  await t.test('curl with HTTP/2 at once', async (t) => {
    const flags = [...curl, '--http2-prior-knowledge', `http://${at}/`];
    const { code } = await counted(t, proxy, 'http2_on_http1_port', 'curl', flags);
    t.not(code, 0);
  });

  await t.test('whoever says nothing is not answered, not logged, and counted', async (t) => {
    const silent = 'spliceway_connections_dropped_total{why="silent"}';
    const before = await proxy.metric(silent);
    const lines = proxy.log.length;
    for (let i = 0; i < 5; i += 1) {
      const socket = await connectRaw(t, proxy);
      socket.resume();
      if (i % 2 === 0) socket.end();
      else socket.resetAndDestroy();
      await once(socket, 'close');
      t.equal(socket.bytesRead, 0);
    }
    // A connection that came later and is answered: those before it have been dealt with.
    await checkRefusal(t, proxy, 'GET / HTTP/1.1\r\n\r\n', { status: 405, reason: 'method_not_allowed' });
    t.equal(await proxy.metric(silent), before + 5);
    t.equal(proxy.log.length, lines + 1, 'one line: that of the GET');
  });

  await t.test('meanwhile a tunnel lives on, and nothing was uncaught', async (t) => {
    bystander.client.write('ping');
    t.equal((await readBytes(bystander.upstream, 4)).toString(), 'ping');
    t.equal(await proxy.metric('spliceway_uncaught_errors_total'), 0);
    t.equal(await proxy.metric('spliceway_tunnels_active{engine="splice"}'), 1);
    t.same(
      proxy.log.filter(({ level }) => level === 'error' || level === 'warn'),
      [],
      'a stranger at the port is no trouble of the operator',
    );
  });
});

/** Runs a program and asserts that its connection is counted under this reason, and none under another. */
async function counted(
  t: Test,
  proxy: RunningProxy,
  reason: Reason,
  program: string,
  flags: readonly string[],
): Promise<{ readonly code: number; readonly output: string }> {
  const series = `spliceway_requests_total{code="400",reason="${reason}"}`;
  const before = await proxy.metric(series);
  const lines = proxy.log.length;
  const result = await new Promise<{ code: number; output: string }>((resolve) => {
    const child = execFile(program, flags, { timeout: 30_000 }, (error: ExecFileException | null, out, err) =>
      resolve({ code: Number(error?.code ?? 0), output: `${out}${err}` }),
    );
    child.stdin?.end();
  });
  await proxy.until((record) => proxy.log.indexOf(record) >= lines && record.reason === reason);
  t.equal(await proxy.metric(series), before + 1);
  t.equal(proxy.log.length, lines + 1, 'one line in the log');
  return result;
}
