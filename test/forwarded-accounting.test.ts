import { spawnSync } from 'node:child_process';
import t from 'tap';
import { LOOPBACK, reach, readAnswer, requestFor, urlOf } from './fixtures/forwarding.js';
import { PASSWORD, startProxy } from './fixtures/proxy.js';
import { byLabel } from './fixtures/series.js';
import { connectRaw, listenOn, readBytes, readHead, readToEnd } from './fixtures/sockets.js';

const MIB = 1024 * 1024;

t.test('a forwarded request has two records, and is counted once', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, LOOPBACK);
  const client = await connectRaw(t, proxy);
  const seen: unknown[] = [];
  for (const [method, status, content] of [
    ['GET', 200, ''],
    ['POST', 404, 'hello'],
    ['PROPFIND', 302, ''],
    ['GET', 777, ''],
  ] as const) {
    const length = content === '' ? '' : `Content-Length: ${content.length}\r\n`;
    const fields = `User-Agent: tester\r\n${length}`;
    const url = urlOf(peer, '/a-path?a-query');
    const { origin, head } = await reach(
      t,
      proxy,
      peer,
      requestFor(url, { method, fields, body: content }),
      client,
    );
    await readBytes(origin, content.length);
    const answer = `HTTP/1.1 ${status} x\r\nContent-Length: 2\r\n\r\nok`;
    origin.end(answer);
    t.equal((await readAnswer(client)).body, 'ok');
    const own = ({ tunnel }: Readonly<Record<string, unknown>>) => !seen.includes(tunnel);
    const close = await proxy.until((record) => record.event === 'close' && own(record));
    const decision = proxy.log.find(({ event, tunnel }) => event === 'decision' && tunnel === close.tunnel);
    seen.push(close.tunnel);
    const both = { user: 'migration', target: `127.0.0.1:${peer.port}`, method };
    t.match(decision, { ...both, decision: 'allowed', userAgent: 'tester', level: 'info' });
    t.match(close, {
      ...{ ...both, status, address: both.target, level: 'info' },
      bytesUp: head.text.length + 4 + content.length,
      bytesDown: answer.length,
      cause: 'complete',
      endedBy: 'upstream',
    });
    for (const name of ['durationMs', 'firstByteMs', 'connectMs']) t.type(close[name], 'number', name);
    t.ok(Number(close.firstByteMs) <= Number(close.durationMs));
  }
  t.equal(proxy.log.filter(({ event }) => event === 'decision' || event === 'close').length, 8);
  t.notMatch(JSON.stringify(proxy.log), /a-path|a-query/, 'paths may hold secrets');
  t.notMatch(JSON.stringify(proxy.log), PASSWORD);

  const series = (name: string, labels: string) => proxy.metric(`spliceway_${name}{${labels}}`);
  t.equal(await series('forwarded_requests_total', 'method="GET",code="2xx"'), 1);
  t.equal(await series('forwarded_requests_total', 'method="POST",code="4xx"'), 1);
  t.equal(await series('forwarded_requests_total', 'method="other",code="3xx"'), 1);
  t.equal(await series('forwarded_requests_total', 'method="GET",code="other"'), 1);
  t.equal(await series('requests_total', 'code="2xx",reason="forwarded"'), 1);
  t.equal(await series('forwarded_ends_total', 'cause="complete"'), 4);
  t.equal(await proxy.metric('spliceway_forwarded_duration_seconds_count'), 4);
  t.equal(await proxy.metric('spliceway_dial_duration_seconds_count'), 4);
  t.equal(await proxy.metric('spliceway_connections_total'), 1);
  t.same(Object.values(await byLabel(proxy, 'spliceway_tunnels_total', 'engine')), [0], 'it is no tunnel');
  const input = (await proxy.page('/metrics')).body.replace(
    /^.*\bnodejs_active_(?:handles|requests|resources)_total\b.*\n/gm,
    '',
  );
  const checked = spawnSync('promtool', ['check', 'metrics'], { input, encoding: 'utf8' });
  t.same([checked.status, checked.stdout, checked.stderr], [0, '', '']);
});

t.test('bytes count while they move, up and down, and stay counted', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, LOOPBACK);
  const bytes = () => byLabel(proxy, 'spliceway_forwarded_bytes_total', 'direction');
  const active = () => proxy.metric('spliceway_forwarded_requests_active');
  const { client, origin, head } = await reach(
    t,
    proxy,
    peer,
    requestFor(urlOf(peer), { method: 'PUT', fields: `Content-Length: ${2 * MIB}\r\n` }),
  );
  const headBytes = head.text.length + 4;
  t.equal(await active(), 1, 'before there is an answer');
  client.write(Buffer.alloc(MIB));
  await readBytes(origin, MIB);
  t.same(await bytes(), { up: headBytes + MIB, down: 0 }, 'in mid-upload');
  client.write(Buffer.alloc(MIB));
  await readBytes(origin, MIB);
  const answer = `HTTP/1.1 200 OK\r\nContent-Length: ${2 * MIB}\r\n\r\n`;
  origin.write(answer);
  const { rest } = await readHead(client);
  client.unshift(rest);
  origin.write(Buffer.alloc(MIB));
  await readBytes(client, MIB);
  const half = { up: headBytes + 2 * MIB, down: answer.length + MIB };
  t.same(await bytes(), half, 'in mid-download');
  t.equal(await active(), 1);
  origin.end(Buffer.alloc(MIB));
  await readBytes(client, MIB);
  await proxy.until(({ event }) => event === 'close');
  t.same(await bytes(), { ...half, down: half.down + MIB });
  t.equal(await active(), 0);

  const failing = await reach(t, proxy, peer, requestFor(urlOf(peer)));
  const more = failing.head.text.length + 4;
  failing.origin.end('garbage\r\n\r\n');
  await readToEnd(failing.client);
  await proxy.until(({ event, reason }) => event === 'close' && reason === 'http_protocol_error');
  t.same(await bytes(), { up: half.up + more, down: half.down + MIB + 11 }, 'also where it failed');
  t.equal(await active(), 0);
});

t.test('what an origin does wrong is no failure of the dial', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, [...LOOPBACK, '--idle-timeout', '300ms']);
  const failures = async () =>
    Object.values(await byLabel(proxy, 'spliceway_dial_failures_total', 'reason')).reduce((a, b) => a + b, 0);
  for (const [reason, act] of [
    ['http_protocol_error', 'garbage\r\n\r\n'],
    ['connection_terminated', ''],
    ['http_response_timeout', undefined],
  ] as const) {
    const { client, origin } = await reach(t, proxy, peer, requestFor(urlOf(peer)));
    if (act !== undefined) origin.end(act);
    await readToEnd(client);
    t.match(await proxy.until((record) => record.reason === reason), {
      event: 'close',
      level: 'warn',
      method: 'GET',
    });
    t.equal(await failures(), 0, reason);
  }
  const client = await connectRaw(t, proxy);
  client.write(requestFor('http://127.0.0.77:1/'));
  await readToEnd(client);
  await proxy.until(({ event, reason }) => event === 'close' && reason === 'connection_refused');
  t.equal(await failures(), 1);
});
