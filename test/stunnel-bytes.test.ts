import { createHash, randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { PASSWORD, type RunningProxy, startProxy, USER } from './fixtures/proxy.js';
import { connectRaw, listenOn, type Peer, readBytes, readSome } from './fixtures/sockets.js';

/** What stunnel's `protocol = connect` client sends (stunnel 5.44 to 5.75), one line a write. */
function stunnelLines(protocolHost: string): readonly string[] {
  const credentials = Buffer.from(`${USER}:${PASSWORD}`).toString('base64');
  return [
    `CONNECT ${protocolHost} HTTP/1.1\r\n`,
    `Host: ${protocolHost}\r\n`,
    `Proxy-Authorization: basic ${credentials}\r\n`,
    '\r\n',
  ];
}

/** The only answer that stunnel takes for a tunnel: no 1xx, status line HTTP/1.x 2xx, fields, and not a byte of content. */
const ESTABLISHED = /^HTTP\/1\.1 200 Connection established\r\nSpliceway-Tunnel-Id: [0-9a-f]{16}\r\n\r\n$/;

for (const host of ['127.0.0.1', '::1']) {
  t.test(`the bytes of stunnel open a tunnel, in whatever pieces they come, over ${host}`, async (t) => {
    const peer = await listenOn(t, host);
    const name = host === '::1' ? '[::1]' : host;
    const proxy = await startProxy(t, ['--listen', `${name}:0`, '--allow', `${name}:*`]);
    const lines = stunnelLines(`${name}:${peer.port}`);
    const whole = lines.join('');

    await t.test('each line as its own segment', (t) => checkOpens(t, proxy, peer, lines));
    await t.test('all at once', (t) => checkOpens(t, proxy, peer, [whole]));
    await t.test('byte by byte', (t) => checkOpens(t, proxy, peer, [...whole]));
    await t.test('cut in two at every place', async (t) => {
      for (let at = 1; at < whole.length; at += 1) {
        await checkOpens(t, proxy, peer, [whole.slice(0, at), whole.slice(at)]);
      }
    });
    t.equal(
      await proxy.metric('spliceway_requests_total{code="200",reason="established"}'),
      whole.length + 2,
    );
  });
}

t.test(
  'what a client sends behind the bytes of stunnel, without waiting, arrives behind the 200',
  async (t) => {
    const peer = await listenOn(t);
    const proxy = await startProxy(t, ['--allow', '127.0.0.1:*']);
    const lines = stunnelLines(`127.0.0.1:${peer.port}`);
    const hello = randomBytes(517);
    for (const segments of [
      [...lines, hello],
      [lines.join(''), hello],
      [Buffer.concat([Buffer.from(lines.join('')), hello])],
      [...lines.slice(0, 3), Buffer.concat([Buffer.from('\r\n'), hello.subarray(0, 1)]), hello.subarray(1)],
      [...lines.join('')]
        .map((byte) => Buffer.from(byte))
        .concat([...hello].map((byte) => Buffer.from([byte]))),
    ]) {
      await t.test(`in ${segments.length} segments`, (t) => checkOpens(t, proxy, peer, segments, hello));
    }
  },
);

/** Sends the segments, one a turn of the event loop, and asserts that there is a tunnel in which nothing but `early` has arrived. */
async function checkOpens(
  t: Test,
  proxy: RunningProxy,
  peer: Peer,
  segments: readonly (string | Buffer)[],
  early: Buffer = Buffer.alloc(0),
): Promise<void> {
  const client = await connectRaw(t, proxy);
  client.setNoDelay();
  for (const segment of segments) {
    await new Promise((resolve) => client.write(segment, resolve));
    await turn();
  }
  const answer = await readSome(client);
  t.match(answer?.toString('latin1'), ESTABLISHED, 'the whole answer in one segment');
  const upstream = await peer.next();
  await checkBothWays(t, client, upstream, early);
}

async function checkBothWays(t: Test, client: Socket, upstream: Socket, early: Buffer): Promise<void> {
  client.write('behind');
  const arrived = await readBytes(upstream, early.length + 6);
  t.equal(sha256(arrived), sha256(Buffer.concat([early, Buffer.from('behind')])), 'every byte, in order');
  upstream.write('back');
  t.equal((await readBytes(client, 4)).toString(), 'back', 'nothing between the answer and the tunnel');
  client.destroy();
  upstream.destroy();
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
