import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import { resetNow } from '../src/relay/reset.js';
import { receiveAll } from './fixtures/endings.js';
import { type RunningProxy, startProxy } from './fixtures/proxy.js';
import {
  connectHead,
  connectRaw,
  type Head,
  listenOn,
  type Peer,
  readBytes,
  readHead,
  readSome,
  readToEnd,
} from './fixtures/sockets.js';

const TARGET = 'dvm.apps.target.example:443';
const NAME = Buffer.from('dvm.apps.target.example');
const PORT = Buffer.from([443 >> 8, 443 & 255]);

/** What is asked for in each version, and what opens the tunnel. */
const VERSIONS = {
  socks4a: {
    dialogue: [
      {
        asked: Buffer.concat([
          Buffer.from([4, 1]),
          PORT,
          Buffer.from([0, 0, 0, 1]),
          Buffer.from('me\0'),
          NAME,
          Buffer.from([0]),
        ]),
        said: Buffer.from([0, 90, 0, 0, 0, 0, 0, 0]),
      },
    ],
    login: 'me@',
  },
  socks5h: {
    dialogue: [
      { asked: Buffer.from([5, 2, 0, 2]), said: Buffer.from([5, 2]) },
      { asked: Buffer.from('\x01\x02me\x04p@ss'), said: Buffer.from([1, 0]) },
      {
        asked: Buffer.concat([Buffer.from([5, 1, 0, 3, NAME.length]), NAME, PORT]),
        // The address that it is bound to, as a name.
        said: Buffer.concat([Buffer.from([5, 0, 0, 3, 4]), Buffer.from('name'), Buffer.from([1, 2])]),
      },
    ],
    login: 'me:p%40ss@',
  },
} as const;

/** Speaks SOCKS up to the last answer, which gets something behind it. */
async function speak(
  t: Test,
  parent: Peer,
  version: keyof typeof VERSIONS,
  say: (socket: Socket, last: Buffer) => void,
): Promise<Socket> {
  const socket = await parent.next();
  socket.setNoDelay(true);
  const { dialogue } = VERSIONS[version];
  for (const [at, { asked, said }] of dialogue.entries()) {
    t.same(await readBytes(socket, asked.length), asked);
    if (at < dialogue.length - 1) socket.write(said);
    else say(socket, said);
  }
  return socket;
}

/** A tunnel through the parent, which is the upstream itself. */
async function open(
  t: Test,
  proxy: RunningProxy,
  parent: Peer,
  version: keyof typeof VERSIONS,
  say: (socket: Socket, last: Buffer) => void = (socket, last) => socket.write(last),
): Promise<{ readonly client: Socket; readonly upstream: Socket }> {
  const client = await connectRaw(t, proxy);
  client.write(connectHead(TARGET));
  const upstream = await speak(t, parent, version, say);
  const { status, rest } = await readHead(client);
  t.equal(status, 200);
  if (rest.length > 0) client.unshift(rest);
  return { client, upstream };
}

for (const version of ['socks4a', 'socks5h'] as const) {
  for (const relay of ['splice', 'stream'] as const) {
    t.test(`through a parent that speaks ${version}, relayed by ${relay}`, async (t) => {
      const parent = await listenOn(t);
      const name = `${version}://127.0.0.1:${parent.port}`;
      const url = name.replace('//', `//${VERSIONS[version].login}`);
      const proxy = await startProxy(t, ['--parent', url, '--relay', relay]);

      await t.test('an end of file is one on the other side, and the other half goes on', async (t) => {
        const { client, upstream } = await open(t, proxy, parent, version);
        client.end('question');
        t.same(await readToEnd(upstream), { bytes: Buffer.from('question'), end: 'fin' });
        upstream.end('answer');
        t.same(await readToEnd(client), { bytes: Buffer.from('answer'), end: 'fin' });
        t.match(await proxy.until(({ event }) => event === 'close'), { engine: relay, parent: name });
      });

      await t.test(
        'what comes with the last answer is delivered, with the end of file behind it',
        async (t) => {
          for (const say of [
            (socket: Socket, last: Buffer) => socket.end(Buffer.concat([last, Buffer.from('early bird')])),
            (socket: Socket, last: Buffer) => {
              for (const byte of last) socket.write(Buffer.from([byte]));
              socket.write('early ');
              socket.end('bird');
            },
          ]) {
            const { client, upstream } = await open(t, proxy, parent, version, say);
            t.same(await readToEnd(client), { bytes: Buffer.from('early bird'), end: 'fin' });
            client.end('thanks');
            t.same(await readToEnd(upstream), { bytes: Buffer.from('thanks'), end: 'fin' });
          }
        },
      );

      await t.test('a reset is a reset, behind the last words, in both directions', async (t) => {
        const one = await open(t, proxy, parent, version);
        one.upstream.write('last words', () => resetNow(one.upstream));
        t.same(await receiveAll(one.client), { bytes: Buffer.from('last words'), end: 'reset' });
        const other = await open(t, proxy, parent, version);
        other.client.write('last words', () => resetNow(other.client));
        t.same(await receiveAll(other.upstream), { bytes: Buffer.from('last words'), end: 'reset' });
      });
    });
  }
}

t.test('a SOCKS parent that does not open the tunnel is said to be the reason', async (t) => {
  const parent = await listenOn(t);
  const urls = {
    4: `socks4a://127.0.0.1:${parent.port}`,
    5: `socks5h://127.0.0.1:${parent.port}`,
  };
  const proxies = {
    4: await startProxy(t, ['--parent', urls[4], '--parent-timeout', '1s']),
    5: await startProxy(t, ['--parent', urls[5], '--parent-timeout', '1s']),
  };
  const http = Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n');
  const cases: readonly {
    readonly name: string;
    readonly version: 4 | 5;
    /** One answer for each thing that is asked. */
    readonly says: readonly Buffer[];
    readonly reason: string;
    readonly words: string;
    readonly ends?: true;
  }[] = [
    {
      name: 'it rejects',
      version: 4,
      says: [Buffer.from([0, 91, 0, 0, 0, 0, 0, 0])],
      reason: 'parent_refused',
      words: 'Failed',
    },
    {
      name: 'it forbids',
      version: 5,
      says: [Buffer.from([5, 0]), Buffer.from([5, 2, 0, 1, 0, 0, 0, 0, 0, 0])],
      reason: 'parent_refused',
      words: 'NotAllowed',
    },
    {
      name: 'it wants credentials',
      version: 5,
      says: [Buffer.from([5, 255])],
      reason: 'parent_credentials_rejected',
      words: 'no accepted authentication type',
    },
    {
      name: 'it speaks HTTP',
      version: 4,
      says: [http],
      reason: 'parent_protocol_error',
      words: 'what it answered is not SOCKS',
    },
    {
      name: 'it speaks HTTP',
      version: 5,
      says: [http],
      reason: 'parent_protocol_error',
      words: 'invalid socks version',
    },
    {
      name: 'its address is of no known type',
      version: 5,
      says: [Buffer.from([5, 0]), Buffer.from([5, 0, 0, 9, 0, 0, 0, 0, 0, 0])],
      reason: 'parent_protocol_error',
      words: 'unknown type',
    },
    {
      name: 'it ends',
      version: 5,
      says: [Buffer.from([5])],
      ends: true,
      reason: 'parent_protocol_error',
      words: 'closed the connection before it answered',
    },
    {
      name: 'it ends at once',
      version: 4,
      says: [],
      ends: true,
      reason: 'parent_protocol_error',
      words: 'closed the connection before it answered',
    },
    {
      name: 'it is silent',
      version: 4,
      says: [],
      reason: 'parent_timeout',
      words: 'did not answer within 1 s',
    },
    {
      name: 'it falls silent',
      version: 5,
      says: [Buffer.from([5, 0])],
      reason: 'parent_timeout',
      words: 'did not answer within 1 s',
    },
  ];
  for (const { name, version, says, reason, words, ends } of cases) {
    await t.test(`${name} (SOCKS ${version})`, async (t) => {
      const client = await connectRaw(t, proxies[version]);
      client.write(connectHead(TARGET));
      const socket = await parent.next();
      for (const [at, said] of says.entries()) {
        await readSome(socket);
        if (ends && at === says.length - 1) socket.end(said);
        else socket.write(said);
      }
      if (ends) socket.end();
      const { phrase }: Head = await readHead(client);
      t.match(phrase, `${reason}: ${urls[version]}`);
      t.match(phrase, words);
      t.same(await readToEnd(socket).then(({ end }) => end), 'fin', 'it is closed');
    });
  }
  for (const proxy of Object.values(proxies))
    t.equal(await proxy.metric('spliceway_uncaught_errors_total'), 0);
});

t.test('SOCKS 4 is not asked for an IPv6 address, which it cannot name', async (t) => {
  const parent = await listenOn(t);
  for (const scheme of ['socks4', 'socks4a']) {
    const url = `${scheme}://127.0.0.1:${parent.port}`;
    const proxy = await startProxy(t, ['--parent', url]);
    const client = await connectRaw(t, proxy);
    client.write(connectHead('[2606:4700::1]:443'));
    t.match(
      (await readHead(client)).phrase,
      `destination_ip_unroutable: [2606:4700::1]:443 has no IPv4 address, and ${url} takes no other`,
    );
  }
});

t.test('a client that leaves while a SOCKS parent thinks takes its connection along', async (t) => {
  const parent = await listenOn(t);
  const proxy = await startProxy(t, ['--parent', `socks5h://127.0.0.1:${parent.port}`]);
  const client = await connectRaw(t, proxy);
  client.write(connectHead(TARGET));
  const socket = await parent.next();
  await readSome(socket);
  client.resetAndDestroy();
  t.equal(await readSome(socket).catch(() => undefined), undefined);
  t.ok(await proxy.until(({ reason }) => reason === 'client_gone'));
  t.equal(await proxy.metric('spliceway_uncaught_errors_total'), 0);
});
