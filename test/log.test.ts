import t from 'tap';
import { startProxy, USER } from './fixtures/proxy.js';
import {
  connectHead,
  connectRaw,
  exchange,
  listenOn,
  openTunnel,
  readBytes,
  readToEnd,
} from './fixtures/sockets.js';

const proxy = await startProxy(t, [
  '--allow',
  '127.0.0.0/8:*',
  '--allow',
  '[::1]:*',
  '--deny',
  'denied.test:*',
]);

const recordsOf = (id: unknown) => proxy.log.filter(({ tunnel }) => tunnel === id);

t.test('a tunnel has two records: what was decided, and how it ended', async (t) => {
  for (const [host, name] of [
    ['127.0.0.1', '127.0.0.1'],
    ['::1', '[::1]'],
  ] as const) {
    const peer = await listenOn(t, host);
    const { client, upstream, head } = await openTunnel(t, proxy, peer);
    const clientAddress = `127.0.0.1:${client.localPort}`;
    upstream.write('hello');
    await readBytes(client, 5);
    client.end('hi');
    await readToEnd(upstream);
    upstream.end();
    await readToEnd(client);
    const id = head.headers['spliceway-tunnel-id'];
    t.match(id, /^[0-9a-f]{16}$/);
    await proxy.until(({ event, tunnel }) => event === 'close' && tunnel === id);

    const [decision, close, ...more] = recordsOf(id);
    t.same(more, []);
    const about = {
      level: 'info',
      tunnel: id,
      client: clientAddress,
      user: USER,
      target: `${name}:${peer.port}`,
    };
    t.same(
      { ...decision, time: 0 },
      { ...about, time: 0, event: 'decision', decision: 'allowed', msg: 'allowed' },
    );
    const { time, connectMs, durationMs, firstByteMs, ...rest } = close ?? {};
    t.same(rest, {
      ...about,
      event: 'close',
      address: `${name}:${peer.port}`,
      engine: proxy.log.find(({ event }) => event === 'listening')?.engine,
      bytesUp: 2,
      bytesDown: 5,
      endedBy: 'client',
      cause: 'client_fin',
      msg: 'closed',
    });
    t.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    for (const ms of [connectMs, durationMs, firstByteMs])
      t.ok(Number(ms) >= 0 && Number(ms) < 60_000, `${ms}`);
    t.ok(Number(firstByteMs) <= Number(durationMs));
  }
});

t.test('the rule that allowed a name, and the user agent, are in the decision', async (t) => {
  const named = await startProxy(t, ['--allow', 'v*.test:1-65535', '--allow', '127.0.0.0/8:*']);
  const { port } = await listenOn(t);
  const agent = `curl/8 "\u00e9\u00a0${'x'.repeat(400)}`;
  const request = connectHead(`v4.test:${port}`).replace('\r\n\r\n', `\r\nUser-Agent: ${agent}\r\n\r\n`);
  t.equal((await exchange(t, named, Buffer.from(request, 'latin1'))).status, 200);
  const decision = await named.until(({ event }) => event === 'decision');
  t.match(decision, { decision: 'allowed', rule: 'v*.test:1-65535' });
  t.match(decision.userAgent, /^curl\/8 "\\u\{e9\}\\u\{a0\}x+\.\.\.$/);
  t.equal(String(decision.userAgent).length, 300);
});

t.test('who ended a tunnel is told, and how', async (t) => {
  for (const [end, expected] of [
    ['fin', { endedBy: 'upstream', cause: 'upstream_fin' }],
    ['reset', { endedBy: 'upstream', cause: 'upstream_reset' }],
  ] as const) {
    const { client, upstream, head } = await openTunnel(t, proxy, await listenOn(t));
    if (end === 'fin') upstream.end();
    else upstream.resetAndDestroy();
    await readToEnd(client);
    client.end();
    const id = head.headers['spliceway-tunnel-id'];
    t.match(await proxy.until(({ event, tunnel }) => event === 'close' && tunnel === id), expected);
  }
  const idle = await startProxy(t, ['--allow', '127.0.0.0/8:*', '--idle-timeout', '200ms']);
  await openTunnel(t, idle, await listenOn(t));
  t.match(await idle.until(({ event }) => event === 'close'), { endedBy: 'proxy', cause: 'idle_timeout' });
});

t.test('a refusal has one record, at the level of whose business it is', async (t) => {
  for (const [request, level, expected] of [
    [connectHead('denied.test:443'), 'info', { reason: 'destination_denied', code: 403, user: USER }],
    [connectHead('127.0.0.1:0'), 'info', { reason: 'target_invalid', code: 400, target: undefined }],
    [
      'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
      'info',
      { reason: 'method_not_allowed', code: 405, user: undefined },
    ],
    ['CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n', 'info', { reason: 'credentials_missing', code: 407 }],
  ] as const) {
    const { headers } = await exchange(t, proxy, request);
    const id = headers['spliceway-tunnel-id'];
    await proxy.until(({ tunnel }) => tunnel === id);
    await proxy.page('/live');
    const records = recordsOf(id);
    t.match(records, [{ level, event: 'decision', decision: 'refused', msg: /^refused: / }]);
    t.match(records, [expected]);
    t.equal(records.length, 1);
  }
});

t.test(
  'a name that the policy refuses by its addresses is refused in the log, and never allowed',
  async (t) => {
    const strict = await startProxy(t, ['--allow', '*:443', '--allow', '10.0.0.0/8:443']);
    const { status, headers } = await exchange(t, strict, connectHead('localhost:443'));
    t.equal(status, 403);
    const tunnel = headers['spliceway-tunnel-id'];
    t.match(await strict.until((record) => record.tunnel === tunnel), {
      event: 'decision',
      decision: 'refused',
      reason: 'destination_ip_prohibited',
    });
    t.equal(await strict.stop(), 0);
    t.equal(strict.log.filter((record) => record.tunnel === tunnel).length, 1);
  },
);

t.test('a dial that fails has a second record with the reason, for the operator', async (t) => {
  const { port } = await listenOn(t);
  for (const [authority, reason, code] of [
    [`127.0.0.78:${port}`, 'connection_refused', 502],
    ['absent.test:443', 'dns_error', 502],
    ['127.67.0.1:443', 'destination_ip_unroutable', 502],
  ] as const) {
    const { headers, status } = await exchange(t, proxy, connectHead(authority));
    t.equal(status, code);
    const id = headers['spliceway-tunnel-id'];
    await proxy.until(({ event, tunnel }) => event === 'close' && tunnel === id);
    t.match(recordsOf(id), [
      { level: 'info', event: 'decision', decision: 'allowed', target: authority },
      { level: 'warn', event: 'close', target: authority, reason, code, msg: /^failed: / },
    ]);
    t.equal(recordsOf(id).length, 2);
  }
});

t.test('wrong credentials are not repeated: a name may be a password in the wrong field', async (t) => {
  const header = (text: string) => `Proxy-Authorization: Basic ${Buffer.from(text).toString('base64')}\r\n`;
  for (const credentials of ['hunter2:x', `${USER}:hunter2`, 'hunter2:', 'nobody:hunter2']) {
    const head = 'CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n';
    const { status, text, headers, socket } = await exchange(t, proxy, `${head}${header(credentials)}\r\n`);
    t.equal(status, 407);
    t.notMatch(text + (await readToEnd(socket)).bytes.toString(), 'hunter2');
    await proxy.until(({ tunnel }) => tunnel === headers['spliceway-tunnel-id']);
  }
  const all = JSON.stringify(proxy.log);
  t.match(all, 'credentials_rejected');
  for (const secret of [
    'hunter2',
    'let-me-through',
    Buffer.from('let-me-through').toString('base64').slice(0, 12),
  ])
    t.notMatch(all, secret);
});

t.test('a connection that says nothing is not worth a record', async (t) => {
  const before = proxy.log.length;
  const dropped = 'spliceway_connections_dropped_total{why="silent"}';
  const count = await proxy.metric(dropped);
  const silent = await connectRaw(t, proxy);
  silent.end();
  await readToEnd(silent);
  while ((await proxy.metric(dropped)) === count);
  t.equal(proxy.log.length, before);
});
