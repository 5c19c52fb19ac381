import { Socket } from 'node:net';
import t from 'tap';
import { parseTarget, type Target } from '../src/target.js';
import { type DialOptions, dial } from '../src/upstream/dial.js';
import { parentRefusal, parseWays } from '../src/upstream/parent.js';
import { listenOn, readBytes, readSome } from './fixtures/sockets.js';

const OPTIONS = {
  dnsTimeoutMs: 5000,
  connectTimeoutMs: 5000,
  parentTimeoutMs: 5000,
  dialTimeoutMs: 20_000,
  dialRetryMs: 0,
};

function target(text: string): Target {
  const parsed = parseTarget(text);
  if ('problem' in parsed) throw new Error(parsed.problem);
  return parsed;
}

function through(text: string): DialOptions {
  const ways = parseWays(text);
  if ('problem' in ways) throw new Error(ways.problem);
  return { ...OPTIONS, routes: [{ fits: () => true, ways }] };
}

const judge = () => undefined;

t.test('for a request, a parent that speaks HTTP is connected to and asked nothing', async (t) => {
  const parent = await listenOn(t);
  const upstream = await dial(
    target('a.example:80'),
    { ...through(`http://me:p%40ss@127.0.0.1:${parent.port}`), judge, for: 'request' },
    new AbortController(),
  );
  t.teardown(() => void upstream.socket.destroy());
  t.match(upstream, {
    requestForm: 'absolute',
    address: undefined,
    parent: {
      name: `http://127.0.0.1:${parent.port}`,
      authorization: `Basic ${Buffer.from('me:p@ss').toString('base64')}`,
    },
    timings: { parents: [{ name: `http://127.0.0.1:${parent.port}`, result: 'opened' }] },
  });
  upstream.socket.write('GET http://a.example/');
  const socket = await parent.next();
  t.equal((await readBytes(socket, 21)).toString(), 'GET http://a.example/', 'nothing before it');
  upstream.socket.destroy();
  t.equal(await readSome(socket), undefined);
});

t.test('for a request, the policy is asked as for a tunnel', async (t) => {
  const asked: (string | undefined)[] = [];
  const parent = await listenOn(t);
  const { socket } = await dial(
    target('a.example:80'),
    {
      ...through(`http://127.0.0.1:${parent.port}`),
      for: 'request',
      judge(address) {
        asked.push(address);
        return undefined;
      },
    },
    new AbortController(),
  );
  t.teardown(() => void socket.destroy());
  t.same(asked, [undefined]);
});

t.test('directly, and through SOCKS, requests are sent as to the target itself', async (t) => {
  const peer = await listenOn(t);
  const direct = await dial(
    target(`127.0.0.1:${peer.port}`),
    { ...through('direct'), judge, for: 'request' },
    new AbortController(),
  );
  t.teardown(() => void direct.socket.destroy());
  t.match(direct, { requestForm: 'origin', parent: undefined, address: '127.0.0.1' });

  const parent = await listenOn(t);
  const dialling = dial(
    target('a.example:80'),
    { ...through(`socks5h://127.0.0.1:${parent.port}`), judge, for: 'request' },
    new AbortController(),
  );
  const socket = await parent.next();
  await readBytes(socket, 3);
  socket.write(Buffer.from([5, 0]));
  await readBytes(socket, 7 + 'a.example'.length);
  socket.write(Buffer.from([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]));
  const { socket: own, ...socks } = await dialling;
  t.ok(own instanceof Socket);
  t.teardown(() => void own.destroy());
  t.same(socks.requestForm, 'origin');
  t.same(socks.parent, { name: `socks5h://127.0.0.1:${parent.port}` });
});

t.test('what a parent answers to a request is told with its name', (t) => {
  const refused = parentRefusal('http://p.example:3128', 407, 'Proxy Authentication Required');
  t.match(refused, {
    reason: 'parent_credentials_rejected',
    status: 502,
    message: 'http://p.example:3128 answered 407 Proxy Authentication Required',
  });
  t.end();
});
