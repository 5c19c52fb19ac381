import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { connect as connectTls, createServer as createTlsServer, type SecureVersion } from 'node:tls';
import t, { type Test } from 'tap';
import { HandshakeOnly } from '../src/relay/handshake-only.js';

const VERSIONS: readonly SecureVersion[] = ['TLSv1.2', 'TLSv1.3'];

/** What a TLS client sends on the wire while it shakes hands, says these words, and closes. */
async function clientBytes(t: Test, version: SecureVersion, words: string): Promise<Buffer> {
  const directory = t.testdir({});
  const key = `${directory}/key.pem`;
  const certificate = `${directory}/certificate.pem`;
  const openssl = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=openshift.io'];
  execFileSync('openssl', [...openssl, '-keyout', key, '-out', certificate], { stdio: 'ignore' });
  const server = createTlsServer(
    { key: readFileSync(key), cert: readFileSync(certificate), maxVersion: version },
    (socket) => {
      socket.on('error', () => {});
      socket.resume();
      socket.on('end', () => socket.end());
    },
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const sent: Buffer[] = [];
  const recorder = createServer((client) => {
    const upstream = connect((server.address() as AddressInfo).port, '127.0.0.1');
    client.on('data', (chunk) => sent.push(chunk));
    client.pipe(upstream).pipe(client);
    for (const socket of [client, upstream]) socket.on('error', () => {});
  });
  recorder.listen(0, '127.0.0.1');
  await once(recorder, 'listening');
  t.teardown(() => {
    server.close();
    recorder.close();
  });
  const client = connectTls({
    host: '127.0.0.1',
    port: (recorder.address() as AddressInfo).port,
    rejectUnauthorized: false,
    minVersion: version,
    maxVersion: version,
  });
  await once(client, 'secureConnect');
  client.end(words);
  client.resume();
  await once(client, 'close');
  return Buffer.concat(sent);
}

function watched(chunks: readonly Buffer[]): boolean {
  const watch = new HandshakeOnly();
  for (const chunk of chunks) watch.push(chunk);
  return watch.value;
}

for (const version of VERSIONS) {
  t.test(`${version}: a handshake and a close are a probe, in one piece and byte by byte`, async (t) => {
    const bytes = await clientBytes(t, version, '');
    t.equal(watched([bytes]), true);
    t.equal(watched(Array.from(bytes, (byte) => Buffer.of(byte))), true);
    t.equal(watched([bytes.subarray(0, -1)]), false, 'not while a record is incomplete');
    t.equal(watched([bytes.subarray(0, 5 + bytes.readUInt16BE(3))]), false, 'not a ClientHello alone');
  });

  t.test(`${version}: a single byte of application data is none`, async (t) => {
    const bytes = await clientBytes(t, version, '!');
    t.equal(watched([bytes]), false);
    t.equal(watched(Array.from(bytes, (byte) => Buffer.of(byte))), false);
  });
}

t.test('what is not TLS is no probe', async (t) => {
  for (const text of ['', 'SSH-2.0-OpenSSH_9.2\r\n', '@RSYNCD: 31.0\n'])
    t.equal(watched([Buffer.from(text)]), false);
});
