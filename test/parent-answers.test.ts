import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import { type PlayedParent, playParent } from './fixtures/parents.js';
import { type RunningProxy, startProxy } from './fixtures/proxy.js';
import {
  connectHead,
  connectRaw,
  type Head,
  readBytes,
  readHead,
  readSome,
  readToEnd,
} from './fixtures/sockets.js';

const TARGET = 'dvm.apps.target.example:443';
const SECRET = 'open%20sesame';
const SECRETS = ['open sesame', SECRET, Buffer.from('parent:open sesame').toString('base64')];

/** Sends a request, lets the parent say this to it, and tells what the client is told. */
async function answered(
  t: Test,
  proxy: RunningProxy,
  parent: PlayedParent,
  say: (socket: Socket) => void,
): Promise<Head & { readonly client: Socket; readonly parent: Socket; readonly asked: string }> {
  const client = await connectRaw(t, proxy);
  client.write(connectHead(TARGET));
  const { socket, head } = await parent.asked();
  say(socket);
  return { ...(await readHead(client)), client, parent: socket, asked: head };
}

t.test('a parent that speaks HTTP', async (t) => {
  const parent = await playParent(t);
  const url = parent.url.replace('//', `//parent:${SECRET}@`);
  const proxy = await startProxy(t, ['--parent', url]);
  /** For a parent that does not answer at all. */
  const impatient = await startProxy(t, ['--parent', url, '--parent-timeout', '1s']);

  await t.test('is asked with its own credentials, and not told those of the client', async (t) => {
    const { asked } = await answered(t, proxy, parent, (socket) => socket.end('HTTP/1.1 403 No\r\n\r\n'));
    t.same(asked.split('\r\n').slice(0, 3), [
      `CONNECT ${TARGET} HTTP/1.1`,
      `Host: ${TARGET}`,
      `Proxy-Authorization: Basic ${Buffer.from('parent:open sesame').toString('base64')}`,
    ]);
    t.match(asked, /\r\nVia: 1\.1 spliceway-[0-9a-f]{8}$/);
    t.equal(asked.split('\r\n').length, 4);
  });

  const opening: readonly (readonly [name: string, text: string])[] = [
    ['200 and a phrase', 'HTTP/1.1 200 Connection established\r\n\r\n'],
    ['204', 'HTTP/1.1 204 No Content\r\n\r\n'],
    ['299 without a phrase', 'HTTP/1.1 299\r\n\r\n'],
    ['HTTP/1.0', 'HTTP/1.0 200 OK\r\nProxy-agent: old\r\n\r\n'],
    [
      'framing that means nothing',
      'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n',
    ],
    ['lines without CR', 'HTTP/1.1 200 OK\nA: b\n\n'],
    [
      '1xx before',
      'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n',
    ],
  ];
  for (const [name, text] of opening) {
    await t.test(
      `opens the tunnel with ${name}, also byte by byte, and what stands behind is delivered`,
      async (t) => {
        for (const pieces of [[`${text}early`], [...text, 'ea', 'rly']]) {
          const {
            status,
            rest,
            client,
            parent: upstream,
          } = await answered(t, proxy, parent, (socket) => {
            socket.setNoDelay(true);
            for (const piece of pieces) socket.write(piece);
          });
          t.equal(status, 200);
          if (rest.length > 0) client.unshift(rest);
          t.equal((await readBytes(client, 5)).toString(), 'early');
          client.end('done');
          t.same(await readToEnd(upstream), { bytes: Buffer.from('done'), end: 'fin' });
          upstream.end();
          t.equal((await readToEnd(client)).end, 'fin');
        }
      },
    );
  }

  await t.test('may end its half together with its answer', async (t) => {
    const {
      status,
      rest,
      client,
      parent: upstream,
    } = await answered(t, proxy, parent, (socket) => socket.end('HTTP/1.1 200 OK\r\n\r\nall there is'));
    t.equal(status, 200);
    if (rest.length > 0) client.unshift(rest);
    t.same(await readToEnd(client), { bytes: Buffer.from('all there is'), end: 'fin' });
    client.end('thanks');
    t.same(await readToEnd(upstream), { bytes: Buffer.from('thanks'), end: 'fin' });
  });

  const CHALLENGE = 'Proxy-Authenticate: Basic realm="secret-realm"\r\n';
  const refusing: readonly {
    readonly name: string;
    readonly says: string;
    readonly reason: string;
    readonly status?: number;
    readonly detail: string | RegExp;
    /** It leaves the connection open. */
    readonly stays?: true;
  }[] = [
    {
      name: 'a password that the parent does not take',
      says: `HTTP/1.1 407 Proxy Authentication Required\r\n${CHALLENGE}\r\nsorry`,
      reason: 'parent_credentials_rejected',
      detail: 'answered 407 Proxy Authentication Required',
      stays: true,
    },
    {
      name: '403',
      says: `HTTP/1.1 403 Not here\r\n${CHALLENGE}\r\n`,
      reason: 'parent_refused',
      detail: 'answered 403 Not here',
    },
    {
      name: '503 without a phrase',
      says: 'HTTP/1.1 503\r\n\r\n',
      reason: 'parent_refused',
      detail: /answered 503;/,
    },
    {
      name: 'a redirect',
      says: 'HTTP/1.1 302 Found\r\nLocation: http://a/\r\n\r\n',
      reason: 'parent_refused',
      detail: 'answered 302 Found',
    },
    {
      name: 'a loop further on',
      says: 'HTTP/1.1 502 Bad\r\nProxy-Status: other; error=proxy_loop_detected\r\n\r\n',
      reason: 'proxy_loop_detected',
      detail: 'answered 502 Bad',
    },
    {
      name: 'a phrase that would lead terminals astray',
      says: 'HTTP/1.1 500 a\x1b[2Jb\u0007c\u00ff"\r\n\r\n',
      reason: 'parent_refused',
      detail: 'answered 500 a\\u{1b}[2Jb\\u{7}c',
    },
    {
      name: 'a phrase without end',
      says: `HTTP/1.1 500 ${'x'.repeat(9000)}\r\n\r\n`,
      reason: 'parent_refused',
      detail: /x{200,280}\.\.\./,
    },
    {
      name: '101',
      says: 'HTTP/1.1 101 Switching Protocols\r\n\r\n',
      reason: 'parent_protocol_error',
      detail: 'with 101',
      stays: true,
    },
    {
      name: 'garbage',
      says: 'SSH-2.0-OpenSSH_9.2\r\n',
      reason: 'parent_protocol_error',
      detail: 'is not HTTP/1',
      stays: true,
    },
    {
      name: 'HTTP/2',
      says: 'HTTP/2 200 OK\r\n\r\n',
      reason: 'parent_protocol_error',
      detail: 'is not HTTP/1',
      stays: true,
    },
    {
      name: 'a status that is none',
      says: 'HTTP/1.1 2000 OK\r\n\r\n',
      reason: 'parent_protocol_error',
      detail: 'is not HTTP/1',
      stays: true,
    },
    {
      name: 'a head without end',
      says: `HTTP/1.1 200 OK\r\n${`X: ${'x'.repeat(1000)}\r\n`.repeat(20)}`,
      reason: 'parent_protocol_error',
      detail: 'no end within 16 KiB',
      stays: true,
    },
    {
      name: 'half a head, and the end of the connection',
      says: 'HTTP/1.1 200 OK\r\nA: b',
      reason: 'parent_protocol_error',
      detail: 'closed the connection before it answered',
    },
    {
      name: 'nothing, and the end of the connection',
      says: '',
      reason: 'parent_protocol_error',
      detail: 'closed the connection before it answered',
    },
    {
      name: 'silence',
      says: '',
      reason: 'parent_timeout',
      status: 504,
      detail: 'did not answer within 1 s',
      stays: true,
    },
    {
      name: '100 and silence',
      says: 'HTTP/1.1 100 Continue\r\n\r\n',
      reason: 'parent_timeout',
      status: 504,
      detail: 'did not answer within 1 s',
      stays: true,
    },
  ];
  for (const { name, says, reason, status: expected = 502, detail, stays } of refusing) {
    await t.test(`is said to be the reason where its answer is ${name}`, async (t) => {
      const {
        status,
        phrase,
        headers,
        text,
        rest,
        parent: connection,
      } = await answered(t, expected === 504 ? impatient : proxy, parent, (socket) =>
        stays ? socket.write(says, 'latin1') : socket.end(says, 'latin1'),
      );
      t.equal(status, expected);
      t.match(phrase, `${reason}: ${parent.url}`);
      t.match(phrase, detail);
      t.match(headers['proxy-status'], `error=${reason}`);
      t.notOk('proxy-authenticate' in headers);
      t.notMatch(text + rest.toString('latin1'), 'secret-realm');
      // It is closed, and nothing is left of it.
      t.equal(await readSome(connection).catch(() => undefined), undefined);
    });
  }

  await t.test('is let go when the client leaves', async (t) => {
    const client = await connectRaw(t, proxy);
    client.write(connectHead(TARGET));
    const { socket } = await parent.asked();
    client.resetAndDestroy();
    t.equal(await readSome(socket).catch(() => undefined), undefined);
    t.ok(await proxy.until(({ reason }) => reason === 'client_gone'));
  });

  await t.test('shows in metrics and log, which hold no secret', async (t) => {
    const series = (result: string) =>
      `spliceway_parent_dials_total{parent="${parent.url}",result="${result}"}`;
    t.equal(await proxy.metric(series('opened')), 2 * opening.length + 1);
    t.equal(await impatient.metric(series('parent_timeout')), 2);
    t.equal(await proxy.metric(series('parent_credentials_rejected')), 1);
    const { body } = await proxy.page('/metrics');
    const log = JSON.stringify([...proxy.log, ...impatient.log]);
    t.match(log, `"parentsFailed":["${parent.url} parent_timeout"]`);
    for (const secret of SECRETS) for (const text of [body, log, proxy.stdout()]) t.notMatch(text, secret);
    t.notMatch(body + log, 'secret-realm');
  });

  await t.test('ends with a drain that does not wait', async (t) => {
    const client = await connectRaw(t, proxy);
    client.write(connectHead(TARGET));
    const { socket } = await parent.asked();
    const stopped = proxy.stop();
    await proxy.until(({ event }) => event === 'draining');
    proxy.process.kill('SIGINT');
    t.equal(await readSome(socket).catch(() => undefined), undefined);
    t.equal(await stopped, 1);
  });
});
