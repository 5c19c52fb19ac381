import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import type { Reason } from '../src/reasons.js';
import { eventually } from './fixtures/process-state.js';
import { type RunningProxy, startProxy, USER } from './fixtures/proxy.js';
import { checkRefusal } from './fixtures/refusals.js';
import { connectHead, connectRaw, listenOn, type Peer, readHead, readToEnd } from './fixtures/sockets.js';

const OTHER = `Proxy-Authorization: Basic ${Buffer.from('other:password').toString('base64')}\r\n`;
const FLAGS = ['--allow', '127.0.0.0/8:*', '--allow', '*.test:*', '--user', 'other:password'];

t.test('a user may have so many tunnels at once, another user as many again', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, [...FLAGS, '--max-tunnels-per-user', '2']);
  const full = { status: 429, reason: 'user_limit_reached', says: /--max-tunnels-per-user/ } as const;

  const first = await open(t, proxy, peer);
  await open(t, proxy, peer);
  for (let i = 0; i < 3; i += 1) await checkRefusal(t, proxy, headFor(peer), full);
  await open(t, proxy, peer, { head: asOther(headFor(peer)) });
  await open(t, proxy, peer, { head: asOther(headFor(peer)) });
  await checkRefusal(t, proxy, asOther(headFor(peer)), full);

  await close(proxy, first);
  await open(t, proxy, peer);
  await checkRefusal(t, proxy, headFor(peer), full);
});

t.test('a client address may have so many tunnels at once, another address as many again', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, [...FLAGS, '--max-tunnels-per-client', '2']);
  const full = { status: 429, reason: 'client_limit_reached', says: /--max-tunnels-per-client/ } as const;

  const first = await open(t, proxy, peer);
  await open(t, proxy, peer, { head: asOther(headFor(peer)) });
  for (const head of [headFor(peer), asOther(headFor(peer))]) await checkRefusal(t, proxy, head, full);
  await open(t, proxy, peer, { from: '127.0.0.2' });
  await open(t, proxy, peer, { from: '127.0.0.2' });

  await close(proxy, first);
  await open(t, proxy, peer);
  await checkRefusal(t, proxy, headFor(peer), full);
});

t.test('an IPv4 client is one client, whichever listener it comes to', async (t) => {
  const peer = await listenOn(t);
  const listeners = ['--listen', '127.0.0.1:0', '--listen', '[::]:0'];
  const proxy = await startProxy(t, [...FLAGS, ...listeners, '--max-tunnels-per-client', '1']);
  const { listeners: addresses } = await proxy.until(({ event }) => event === 'listening');
  const [, dual = ''] = addresses as string[];
  await open(t, proxy, peer);
  await checkRefusal(t, { ...proxy, port: Number(dual.replace(/^.*:/, '')) }, headFor(peer), {
    status: 429,
    reason: 'client_limit_reached',
  });
});

t.test('the proxy holds so many tunnels at once, whoever they belong to', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, [...FLAGS, '--max-tunnels', '2']);
  const full = { status: 503, reason: 'connection_limit_reached', says: /--max-tunnels/ } as const;

  const first = await open(t, proxy, peer);
  await open(t, proxy, peer, { from: '127.0.0.2', head: asOther(headFor(peer)) });
  for (const head of [headFor(peer), asOther(headFor(peer))]) await checkRefusal(t, proxy, head, full);

  await close(proxy, first);
  await open(t, proxy, peer);
  await checkRefusal(t, proxy, headFor(peer), full);
});

t.test('a tunnel has its place from the dial on, and a refusal takes none', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, [...FLAGS, '--max-tunnels', '1', '--connect-timeout', '60s']);
  const refusals: readonly (readonly [request: string, status: number, reason: Reason])[] = [
    ['CONNECT 127.0.0.1:9 HTTP/1.1\r\nHost: h\r\n\r\n', 407, 'credentials_missing'],
    [connectHead('10.0.0.1:9'), 403, 'destination_denied'],
    [connectHead('host.test'), 400, 'target_invalid'],
    [connectHead('127.0.0.1:9'), 502, 'connection_refused'],
    [connectHead('no-such-name.test:9'), 502, 'dns_error'],
    [connectHead('v6.test:9'), 403, 'destination_ip_prohibited'],
  ];
  for (const [request, status, reason] of refusals) await checkRefusal(t, proxy, request, { status, reason });

  const dialling = await connectFrom(t, proxy);
  dialling.write(connectHead('blackhole.test:9'));
  await proxy.until(({ event, target }) => event === 'decision' && target === 'blackhole.test:9');
  await checkRefusal(t, proxy, headFor(peer), { status: 503, reason: 'connection_limit_reached' });
  dialling.destroy();
  await proxy.until(({ reason }) => reason === 'client_gone');
  await open(t, proxy, peer);
});

t.test('silent connections make room for one that speaks', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, FLAGS, { under: ['prlimit', '--nofile=128:128'] });
  const silent: Socket[] = [];
  for (let i = 0; i < 60; i += 1) silent.push(await connectRaw(t, proxy));
  await open(t, proxy, peer);
  const [first] = silent;
  if (first !== undefined && !first.destroyed) await readToEnd(first);
  t.ok(
    silent.some(({ destroyed, readableEnded }) => destroyed || readableEnded),
    'the oldest was closed',
  );
});

t.test('without limits there are none', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, FLAGS);
  for (let i = 0; i < 50; i += 1) await open(t, proxy, peer);
  t.equal(await proxy.metric('spliceway_tunnels_active{engine="splice"}'), 50);
  const records = () => proxy.log.filter(({ user }) => user === USER).length;
  t.equal(await eventually(records, (count) => count >= 50), 50);
});

/** An open tunnel. */
interface Open {
  readonly id: string | undefined;
  readonly client: Socket;
  readonly upstream: Socket;
}

async function open(
  t: Test,
  proxy: RunningProxy,
  peer: Peer,
  { from = '127.0.0.1', head = headFor(peer) } = {},
): Promise<Open> {
  const client = await connectFrom(t, proxy, from);
  client.write(head);
  const answer = await readHead(client);
  t.equal(answer.status, 200, answer.text);
  return { id: answer.headers['spliceway-tunnel-id'], client, upstream: await peer.next() };
}

/** Ends a tunnel and waits until it has been accounted: its place is free then. */
async function close(proxy: RunningProxy, { id, client, upstream }: Open): Promise<void> {
  client.end();
  upstream.end();
  await proxy.until(({ event, tunnel }) => event === 'close' && tunnel === id);
}

async function connectFrom(t: Test, proxy: RunningProxy, localAddress = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ host: proxy.host, port: proxy.port, localAddress, allowHalfOpen: true });
  socket.on('error', () => {});
  t.teardown(() => void socket.destroy());
  await once(socket, 'connect');
  return socket;
}

function headFor(peer: Peer): string {
  return connectHead(`127.0.0.1:${peer.port}`);
}

function asOther(head: string): string {
  return head.replace(/^Proxy-Authorization: .*\r\n/m, OTHER);
}
