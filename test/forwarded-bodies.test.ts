import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import t from 'tap';
import {
  LOOPBACK,
  linesNamed,
  reach,
  readAnswer,
  readUntil,
  requestFor,
  urlOf,
} from './fixtures/forwarding.js';
import { eventually } from './fixtures/process-state.js';
import { type RunningProxy, startProxy } from './fixtures/proxy.js';
import { connectRaw, listenOn, readBytes, readHead, readToEnd } from './fixtures/sockets.js';

const FLAGS = [...LOOPBACK, '--no-via'];
const MIB = 1024 * 1024;
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

t.test('content gets to the origin, framed as it was, or not at all', async (t) => {
  const proxy = await startProxy(t, FLAGS);
  const chunked = 'Transfer-Encoding: chunked\r\n';
  const rows: readonly (readonly [
    method: string,
    fields: string,
    body: string,
    framing: readonly string[],
    arrives: string,
  ])[] = [
    ['POST', 'Content-Length: 5\r\n', 'hello', ['Content-Length: 5'], 'hello'],
    ['GET', 'Content-Length: 5\r\n', 'hello', ['Content-Length: 5'], 'hello'],
    ['DELETE', 'Content-Length: 5\r\n', 'hello', ['Content-Length: 5'], 'hello'],
    ['POST', '', '', ['Content-Length: 0'], ''],
    ['PUT', 'Content-Length: 0\r\n', '', ['Content-Length: 0'], ''],
    ['GET', 'Content-Length: 0\r\n', '', ['Content-Length: 0'], ''],
    ['GET', '', '', [], ''],
    ['HEAD', '', '', [], ''],
    ['DELETE', '', '', [], ''],
    ['OPTIONS', '', '', [], ''],
    ['PROPFIND', '', '', ['Content-Length: 0'], ''],
    ['REPORT', 'Content-Length: 5\r\n', 'hello', ['Content-Length: 5'], 'hello'],
    ['POST', chunked, '5\r\nhello\r\n0\r\n\r\n', ['Transfer-Encoding: chunked'], '5\r\nhello\r\n0\r\n\r\n'],
    ['GET', chunked, '5\r\nhello\r\n0\r\n\r\n', ['Transfer-Encoding: chunked'], '5\r\nhello\r\n0\r\n\r\n'],
    ['POST', chunked, '0\r\n\r\n', ['Transfer-Encoding: chunked'], '0\r\n\r\n'],
    [
      'POST',
      chunked,
      '5;a=b;c="d"\r\nhello\r\n0;x\r\n\r\n',
      ['Transfer-Encoding: chunked'],
      '5\r\nhello\r\n0\r\n\r\n',
    ],
    [
      'POST',
      `${chunked}Trailer: X-Sum\r\n`,
      '5\r\nhello\r\n0\r\nX-Sum: 1\r\nx-OTHER: \xfc\r\nSet-Cookie: x=y\r\nAuthorization: a\r\nProxy-X: b\r\n\r\n',
      ['Trailer: X-Sum', 'Transfer-Encoding: chunked'],
      '5\r\nhello\r\n0\r\nX-Sum: 1\r\nx-OTHER: \xfc\r\n\r\n',
    ],
  ];
  for (const host of ['127.0.0.1', '::1']) {
    const peer = await listenOn(t, host);
    const client = await connectRaw(t, proxy);
    for (const [method, fields, body, framing, arrives] of rows) {
      const request = requestFor(urlOf(peer), { method, fields, body });
      const { origin, lines } = await reach(t, proxy, peer, request, client);
      const what = `${host} ${method} ${fields}${JSON.stringify(body)}`;
      t.same(
        lines.filter((line) => /^(?:content-length|transfer-encoding|trailer):/i.test(line)),
        framing,
        what,
      );
      if (arrives !== '') t.equal(await readUntil(origin, arrives), arrives, 'the content');
      origin.write(method === 'HEAD' ? OK.slice(0, -2) : OK);
      if (method === 'HEAD') await readHead(client);
      else await readAnswer(client);
      t.same(await readToEnd(origin), { bytes: Buffer.alloc(0), end: 'fin' }, 'and nothing behind it');
    }
  }
});

/** Answers of an origin, and what a client of HTTP/1.1 and one of HTTP/1.0 gets of each. */
const ANSWERS: readonly (readonly [
  what: string,
  answer: string,
  method: string,
  to11: RegExp,
  to10: RegExp,
])[] = [
  [
    'a length',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
    'GET',
    /\r\nContent-Length: 5[\s\S]*\r\n\r\nhello$/,
    /\r\nContent-Length: 5[\s\S]*\r\n\r\nhello$/,
  ],
  [
    'chunks',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n',
    'GET',
    /\r\nTransfer-Encoding: chunked[\s\S]*\r\n\r\n(?:5\r\nhello\r\n6\r\n world|b\r\nhello world)\r\n0\r\n\r\n$/,
    /^(?![\s\S]*Transfer-Encoding)[\s\S]*\r\n\r\nhello world$/,
  ],
  [
    'chunks and trailers',
    'HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-sum: 2\r\nProxy-Authenticate: a\r\nContent-Type: b\r\n\r\n',
    'GET',
    /\r\nTrailer: X-Sum[\s\S]*\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-sum: 2\r\n\r\n$/,
    /^(?![\s\S]*(?:Transfer-Encoding|Trailer))[\s\S]*\r\n\r\nhello$/,
  ],
  [
    'an end of file',
    'HTTP/1.1 200 OK\r\n\r\nhello',
    'GET',
    /\r\nTransfer-Encoding: chunked[\s\S]*\r\n\r\n5\r\nhello\r\n0\r\n\r\n$/,
    /^(?![\s\S]*Transfer-Encoding)[\s\S]*\r\nConnection: close\r\n\r\nhello$/,
  ],
  [
    'an end of file, from HTTP/1.0',
    'HTTP/1.0 200 OK\r\nServer: old\r\n\r\nhello',
    'GET',
    /^HTTP\/1.1 200 OK[\s\S]*\r\n\r\n5\r\nhello\r\n0\r\n\r\n$/,
    /^HTTP\/1.1 200 OK[\s\S]*\r\n\r\nhello$/,
  ],
  [
    'nothing at all, to an end of file',
    'HTTP/1.1 200 OK\r\n\r\n',
    'GET',
    /\r\nTransfer-Encoding: chunked[\s\S]*\r\n\r\n0\r\n\r\n$/,
    /^(?![\s\S]*Transfer-Encoding)[\s\S]*\r\n\r\n$/,
  ],
  [
    'HEAD and a length',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n',
    'HEAD',
    /\r\nContent-Length: 5[\s\S]*\r\n\r\n$/,
    /\r\nContent-Length: 5[\s\S]*\r\n\r\n$/,
  ],
  [
    'HEAD and chunks',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
    'HEAD',
    /\r\n\r\n$/,
    /\r\n\r\n$/,
  ],
  [
    '204',
    'HTTP/1.1 204 No Content\r\nX: y\r\n\r\n',
    'GET',
    /^(?![\s\S]*(?:Transfer-Enc|Content-Len))[\s\S]*\r\n\r\n$/,
    /\r\n\r\n$/,
  ],
  [
    '204 with a length',
    'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n',
    'GET',
    /^(?![\s\S]*Content-Len)[\s\S]*\r\n\r\n$/,
    /\r\n\r\n$/,
  ],
  [
    '304 with a length',
    'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: "a"\r\n\r\n',
    'GET',
    /\r\nContent-Length: 5[\s\S]*\r\n\r\n$/,
    /\r\n\r\n$/,
  ],
  [
    '205',
    'HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n',
    'GET',
    /\r\nContent-Length: 0[\s\S]*\r\n\r\n$/,
    /\r\n\r\n$/,
  ],
];

t.test('every kind of answer gets to clients of both versions, framed as they can read it', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, FLAGS);
  for (const [what, answer, method, to11, to10] of ANSWERS) {
    for (const [version, expected] of [
      ['1.1', to11],
      ['1.0', to10],
    ] as const) {
      // An HTTP/1.0 client gets no chunks, even if it says that it could read them.
      const fields =
        version === '1.1' ? 'Connection: close\r\n' : 'TE: chunked\r\nConnection: keep-alive, TE\r\n';
      const request = requestFor(urlOf(peer), { method, version, fields });
      const { client, origin } = await reach(t, proxy, peer, request);
      origin.end(answer);
      const { bytes, end } = await readToEnd(client);
      t.match(bytes.toString('latin1'), expected, `${what}, to HTTP/${version}`);
      t.equal(end, 'fin');
    }
    // Behind each answer the next is found where it is expected.
    const client = await connectRaw(t, proxy);
    const { origin } = await reach(t, proxy, peer, requestFor(urlOf(peer), { method }), client);
    origin.end(answer);
    t.match(await readUntilMatch(client, to11), to11, what);
    const next = await reach(t, proxy, peer, requestFor(urlOf(peer)), client);
    next.origin.end(OK);
    t.equal((await readAnswer(client)).body, 'ok', `${what}, and another on the same connection`);
  }
});

async function readUntilMatch(socket: Socket, pattern: RegExp): Promise<string> {
  let text = '';
  while (!pattern.test(text)) text += (await readBytes(socket, 1)).toString('latin1');
  return text;
}

t.test('HTTP/1.0 clients send content, too', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, FLAGS);
  const fields = 'Content-Length: 3\r\nExpect: 100-continue\r\n';
  const request = requestFor(urlOf(peer), { method: 'POST', version: '1.0', fields, body: 'abc' });
  const { client, origin, head } = await reach(t, proxy, peer, request);
  t.match(head.text, /^POST \/ HTTP\/1\.1\r\n/);
  t.same(linesNamed(head, 'expect'), [], 'which it cannot mean');
  t.equal((await readBytes(origin, 3)).toString(), 'abc');
  origin.write('HTTP/1.1 102 Wait\r\n\r\n');
  origin.end(OK);
  t.match((await readToEnd(client)).bytes.toString(), /^HTTP\/1\.1 200 OK[\s\S]*\r\n\r\nok$/, 'and no 1xx');
});

t.test('interim answers pass as they come, and the content waits for 100', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, FLAGS);
  const fields = 'Content-Length: 5\r\nExpect: 100-continue\r\n';
  const { client, origin, head } = await reach(
    t,
    proxy,
    peer,
    requestFor(urlOf(peer), { method: 'PUT', fields }),
  );
  t.same(linesNamed(head, 'expect'), ['Expect: 100-continue']);
  for (const line of ['102 Processing', '103 Early Hints', '103 Early Hints', '100 Continue', '199 What']) {
    origin.write(
      `HTTP/1.1 ${line}\r\nLink: </a.css>\r\nLink: </b.js>\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n`,
    );
    const interim = await readHead(client);
    t.equal(interim.text, `HTTP/1.1 ${line}\r\nLink: </a.css>\r\nLink: </b.js>`, 'at once, fields and all');
  }
  client.write('hello');
  t.equal((await readBytes(origin, 5)).toString(), 'hello');
  origin.end(OK);
  t.equal((await readAnswer(client)).body, 'ok');
});

t.test('a final answer instead of 100 ends the matter, whether or not the content comes', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, FLAGS);
  for (const body of ['', 'hello']) {
    const fields = 'Content-Length: 5\r\nExpect: 100-continue\r\n';
    const { client, origin } = await reach(
      t,
      proxy,
      peer,
      requestFor(urlOf(peer), { method: 'PUT', fields }),
    );
    origin.write('HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno');
    const answer = await readAnswer(client);
    t.match(answer, { status: 417, body: 'no', headers: { connection: 'close' } });
    client.write(body);
    t.same(await readToEnd(client), { bytes: Buffer.alloc(0), end: 'fin' });
    t.same(await readToEnd(origin), { bytes: Buffer.alloc(0), end: 'fin' }, 'the origin is not sent it');
  }
});

t.test(
  'an origin that answers early and stops reading gets its answer through to a client that goes on sending',
  async (t) => {
    const peer = await listenOn(t);
    const proxy = await startProxy(t, FLAGS);
    for (const how of ['lingers', 'closes', 'resets'] as const) {
      for (const framing of ['Content-Length: 100000000', 'Transfer-Encoding: chunked']) {
        const { client, origin } = await reach(
          t,
          proxy,
          peer,
          requestFor(urlOf(peer), { method: 'POST', fields: `${framing}\r\n` }),
        );
        const chunk = Buffer.alloc(64 * 1024, 'x');
        const piece = framing.startsWith('C')
          ? chunk
          : Buffer.concat([Buffer.from('10000\r\n'), chunk, Buffer.from('\r\n')]);
        let sending = true;
        const sent = (async () => {
          while (sending && !client.destroyed) await new Promise((resolve) => client.write(piece, resolve));
        })();
        await readBytes(origin, MIB);
        const body = 'too large '.repeat(1000);
        const answer = `HTTP/1.1 413 Too Large\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
        await new Promise((resolve) => origin.write(answer, resolve));
        // What is unread then becomes a reset.
        if (how === 'closes') origin.destroy();
        if (how === 'resets') origin.end();
        const got = await readAnswer(client);
        sending = false;
        t.match(got, { status: 413, body, headers: { connection: 'close' } }, `it ${how}; ${framing}`);
        await sent;
        t.equal((await readToEnd(client)).end, 'fin', 'what it still sent did not make that a reset');
        client.destroy();
        origin.destroy();
      }
    }
  },
);

t.test('an answer may begin before all of the content is there, and both go on', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, FLAGS);
  const fields = 'Transfer-Encoding: chunked\r\n';
  const { client, origin } = await reach(t, proxy, peer, requestFor(urlOf(peer), { method: 'POST', fields }));
  origin.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
  const head = await readHead(client);
  t.equal(head.headers.connection, 'close');
  for (const word of ['one', 'two', 'six']) {
    client.write(`3\r\n${word}\r\n`);
    t.equal(await readUntil(origin, `3\r\n${word}\r\n`), `3\r\n${word}\r\n`, 'not held back');
    origin.write(`3\r\n${word}\r\n`);
    t.equal(await readUntil(client, `3\r\n${word}\r\n`), `3\r\n${word}\r\n`, 'nor the echo');
  }
  client.write('0\r\n\r\n');
  t.equal(await readUntil(origin, '0\r\n\r\n'), '0\r\n\r\n');
  origin.end('0\r\n\r\n');
  t.same(await readToEnd(client), { bytes: Buffer.from('0\r\n\r\n'), end: 'fin' });
});

t.test('64 MiB pass both ways at once, whole, and a reader that stalls costs little memory', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, FLAGS);
  const size = 64 * MIB;
  const block = Buffer.alloc(MIB, 'spliceway ');
  const expected = createHash('sha256');
  for (let i = 0; i < 64; i += 1) expected.update(block);
  const digest = expected.digest('hex');
  const fields = `Content-Length: ${size}\r\n`;
  const { client, origin } = await reach(t, proxy, peer, requestFor(urlOf(peer), { method: 'POST', fields }));
  const before = peakMemory(proxy);
  const pour = (socket: Socket) => {
    let poured = 0;
    const done = (async () => {
      for (; poured < size; poured += MIB) if (!socket.write(block)) await once(socket, 'drain');
    })();
    return { done, poured: () => poured };
  };
  // Its last byte comes when all of the content is there: a complete answer ends the exchange (RFC 9112 §9.6).
  origin.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size + 1}\r\n\r\n`);
  await readHead(client).then(({ rest }) => client.unshift(rest));
  const [up, down] = [pour(client), pour(origin)];
  // Neither reads, until nothing moves any more.
  for (const { poured } of [up, down]) {
    let last = -1;
    await eventually(poured, (now) => {
      const still = now === last && now > 0;
      last = now;
      return still;
    });
    t.ok(poured() < size / 2, `${poured() / MIB} MiB were taken from a sender whose reader stalls`);
  }
  const grown = peakMemory(proxy) - before;
  t.ok(grown < 24 * MIB, `the proxy grew by ${grown / MIB} MiB at its peak`);
  const [received, answered] = await Promise.all([
    digestOf(origin, size),
    digestOf(client, size),
    up.done,
    down.done,
  ]);
  origin.end('.');
  t.equal(received, digest, 'the content');
  t.equal(answered, digest, 'the answer');
});

async function digestOf(socket: Socket, size: number): Promise<string> {
  const hash = createHash('sha256');
  let left = size;
  await new Promise<void>((resolve) => {
    socket.on('data', (chunk: Buffer) => {
      hash.update(chunk);
      left -= chunk.length;
      if (left <= 0) resolve();
    });
    socket.resume();
  });
  return hash.digest('hex');
}

/** The most memory that the proxy ever had resident, in bytes: proc_pid_status(5), VmHWM. */
function peakMemory(proxy: RunningProxy): number {
  const status = readFileSync(`/proc/${proxy.process.pid}/status`, 'latin1');
  return Number(/^VmHWM:\s+([0-9]+) kB$/m.exec(status)?.[1]) * 1024;
}
