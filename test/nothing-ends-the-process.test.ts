import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t from 'tap';
import { resetNow } from '../src/relay/reset.js';
import { receiveAll } from './fixtures/endings.js';
import { eventually, socketsOf } from './fixtures/process-state.js';
import { type RunningProxy, startProxy } from './fixtures/proxy.js';
import { generator, type Random } from './fixtures/random.js';
import { connectHead, listenOn, openTunnel } from './fixtures/sockets.js';

const CONNECTIONS = 4000;
const AT_ONCE = 50;
const SEED = 20_240_229;

t.test('garbage and abrupt ends in any mixture neither end the process nor keep a descriptor', async (t) => {
  const random = generator(SEED);
  const [moody, polite] = [await listenOn(t), await listenOn(t)];
  moody.server.on('connection', (upstream) => pick(UPSTREAMS, random)(upstream));
  const proxy = await startProxy(t, [
    // No mutation of the port reaches anybody else's listener.
    ...['--allow', `127.0.0.0/8:${moody.port},${polite.port}`],
    ...['--linger-timeout', '100ms', '--handshake-timeout', '1s', '--half-close-timeout', '1s'],
  ]);
  const before = socketsOf(proxy.process);
  let begun = 0;
  const row = async () => {
    while (begun < CONNECTIONS) {
      begun += 1;
      await molest(proxy, mutate(Buffer.from(connectHead(`127.0.0.1:${moody.port}`)), random), random);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, row));
  await eventually(
    () => socketsOf(proxy.process),
    (count) => count === before,
  );

  const answers = [...new Set(proxy.log.map(({ code = 200 }) => code))].sort();
  const tunnels = proxy.log.filter(({ engine, event }) => event === 'close' && engine !== undefined);
  t.comment(`${CONNECTIONS} connections; answered ${answers.join(' ')}; ${tunnels.length} tunnels`);
  t.ok(answers.length > 5 && tunnels.length > CONNECTIONS / 10, 'neither all good nor all bad');
  const errors = proxy.log.filter(({ level }) => level === 'error' || level === 'fatal');
  t.same(errors, []);
  t.equal(await proxy.metric('spliceway_uncaught_errors_total'), 0);
  // The descriptors are closed before the end of a tunnel is told.
  const active = () => proxy.metric('spliceway_tunnels_active{engine="splice"}');
  t.equal(await eventually(active, (count) => count === 0), 0);

  const { client, upstream } = await openTunnel(t, proxy, polite);
  client.end('question');
  t.same(await receiveAll(upstream), { bytes: Buffer.from('question'), end: 'fin' });
  upstream.end('answer');
  t.same(await receiveAll(client), { bytes: Buffer.from('answer'), end: 'fin' });
  t.equal(await proxy.stop(), 0);
});

/** What may become of a request. */
const MUTATIONS: readonly ((request: Buffer, random: Random) => Buffer)[] = [
  (request) => request,
  (request, random) => Buffer.concat([request, noise(Math.floor(100_000 * random()), random)]),
  (_, random) => noise(1 + Math.floor(2000 * random()), random),
  (request, random) => request.subarray(0, somewhere(request, random)),
  (request, random) => splice(request, random, (part) => Buffer.concat([part, part, part])),
  (request, random) => splice(request, random, () => Buffer.alloc(0)),
  (request, random) => splice(request, random, (part) => noise(part.length, random)),
  (request, random) => splice(request, random, () => Buffer.alloc(Math.floor(40_000 * random()), 'a')),
  (request, random) => splice(request, random, (part) => Buffer.from(`${part}`.toLowerCase())),
  (request) => Buffer.from(`${request}`.replaceAll('\r', '')),
];

function mutate(request: Buffer, random: Random): Buffer {
  // Half of them stay whole, or only the end of them would ever be tried.
  return random() < 0.5 ? request : pick(MUTATIONS, random)(request, random);
}

/** What an upstream may do with a connection. */
const UPSTREAMS: readonly ((upstream: Socket) => void)[] = [
  resetNow,
  (upstream) => upstream.destroy(),
  (upstream) => upstream.end('over').resume(),
  (upstream) => upstream.once('data', () => resetNow(upstream)).resume(),
  (upstream) => upstream.pipe(upstream),
  (upstream) => upstream.once('end', () => upstream.end(Buffer.alloc(1_000_000))).resume(),
  (upstream) => upstream.end(Buffer.alloc(1_000_000)),
];

/** How a client may leave, having sent what it had to send. */
const CLIENTS: readonly ((client: Socket) => void)[] = [
  resetNow,
  (client) => client.destroy(),
  (client) => client.end().resume(),
  (client) => client.once('data', () => client.end()).resume(),
  (client) => client.once('data', () => client.destroy()).resume(),
  (client) => client.once('data', () => resetNow(client)).resume(),
];

async function molest({ host, port }: RunningProxy, bytes: Buffer, random: Random): Promise<void> {
  const client = connect({ host, port, allowHalfOpen: true, noDelay: true });
  client.on('error', () => {});
  const closed = new Promise((resolve) => client.once('close', resolve));
  // An upstream or a proxy that has ended is not kept waiting.
  client.once('end', () => client.end());
  await once(client, 'connect');
  const cut = somewhere(bytes, random);
  client.write(bytes.subarray(0, cut));
  if (random() < 0.5) await new Promise(setImmediate);
  client.write(bytes.subarray(cut));
  if (random() < 0.5) await new Promise(setImmediate);
  pick(CLIENTS, random)(client);
  await closed;
}

/** Puts something else in the place of a part. */
function splice(bytes: Buffer, random: Random, change: (part: Buffer) => Buffer): Buffer {
  const from = somewhere(bytes, random);
  const to = from + Math.floor(Math.min(20, bytes.length - from) * random());
  return Buffer.concat([bytes.subarray(0, from), change(bytes.subarray(from, to)), bytes.subarray(to)]);
}

function somewhere(bytes: Buffer, random: Random): number {
  return Math.floor(bytes.length * random());
}

function noise(length: number, random: Random): Buffer {
  return Buffer.from(Array.from({ length }, () => Math.floor(256 * random())));
}

function pick<T>(choices: readonly T[], random: Random): T {
  return choices[Math.floor(choices.length * random())] as T; // The generator stays below 1.
}
