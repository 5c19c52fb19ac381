import t from 'tap';
import { eventually } from './fixtures/process-state.js';
import { type RunningProxy, startProxy } from './fixtures/proxy.js';
import { byLabel } from './fixtures/series.js';
import {
  connectHead,
  connectRaw,
  exchange,
  listenOn,
  openTunnel,
  readBytes,
  readToEnd,
} from './fixtures/sockets.js';

/** Closes a tunnel from the client's side and waits until it is accounted. */
async function close(proxy: RunningProxy, tunnel: Awaited<ReturnType<typeof openTunnel>>): Promise<void> {
  tunnel.client.end();
  await readToEnd(tunnel.upstream);
  tunnel.upstream.end();
  await readToEnd(tunnel.client);
  const id = tunnel.head.headers['spliceway-tunnel-id'];
  await proxy.until(({ event, tunnel }) => event === 'close' && tunnel === id);
}

t.test('requests are counted by code and reason, and each refusal in the family it belongs to', async (t) => {
  const proxy = await startProxy(t, [
    '--allow',
    '127.0.0.0/8:*',
    '--allow',
    '*.test:*',
    '--deny',
    'denied.test:*',
  ]);
  const peer = await listenOn(t);
  const wrong = `Proxy-Authorization: Basic ${Buffer.from('a:b').toString('base64')}\r\n`;
  const head = `CONNECT 127.0.0.1:${peer.port} HTTP/1.1\r\nHost: x\r\n`;
  for (const [request, code, reason, family] of [
    [`${head}\r\n`, 407, 'credentials_missing', 'authentication_failures'],
    [`${head}${wrong}\r\n`, 407, 'credentials_rejected', 'authentication_failures'],
    [connectHead('denied.test:443'), 403, 'destination_denied', 'policy_refusals'],
    [connectHead('metadata.test:443'), 403, 'destination_ip_prohibited', 'policy_refusals'],
    [connectHead('absent.test:443'), 502, 'dns_error', 'dns_failures'],
    [connectHead(`127.0.0.77:${peer.port}`), 502, 'connection_refused', 'dial_failures'],
    [connectHead('127.67.0.1:443'), 502, 'destination_ip_unroutable', 'dial_failures'],
    [connectHead('127.0.0.1:0'), 400, 'target_invalid', undefined],
  ] as const) {
    const series = `spliceway_requests_total{code="${code}",reason="${reason}"}`;
    const counter = family && `spliceway_${family}_total{reason="${reason}"}`;
    const before = [await proxy.metric(series), counter && (await proxy.metric(counter))];
    const { status, headers } = await exchange(t, proxy, request);
    t.equal(status, code, reason);
    // The reply is written before the accounting; the record comes behind both.
    const id = headers['spliceway-tunnel-id'];
    await proxy.until((record) => record.tunnel === id && record.reason === reason);
    t.equal(await proxy.metric(series), Number(before[0]) + 1, series);
    if (counter) t.equal(await proxy.metric(counter), Number(before[1]) + 1, counter);
  }
  const sum = (counts: Record<string, number>) => Object.values(counts).reduce((all, one) => all + one, 0);
  t.equal(sum(await byLabel(proxy, 'spliceway_requests_total', 'reason')), 8, 'each was counted once');
  t.equal(await proxy.metric('spliceway_connections_total'), 8);
});

t.test('a tunnel is counted when it opens, byte by byte while it runs, and when it ends', async (t) => {
  const proxy = await startProxy(t, ['--allow', '127.0.0.0/8:*', '--allow', '[::1]:*']);
  for (const host of ['127.0.0.1', '::1']) {
    const engine = String(proxy.log.find(({ event }) => event === 'listening')?.engine);
    const up = `spliceway_tunnel_bytes_total{direction="up",engine="${engine}"}`;
    const down = `spliceway_tunnel_bytes_total{direction="down",engine="${engine}"}`;
    const established = 'spliceway_requests_total{code="200",reason="established"}';
    const before = {
      up: await proxy.metric(up),
      down: await proxy.metric(down),
      established: await proxy.metric(established),
      closes: await proxy.metric('spliceway_tunnel_closes_total{cause="client_fin"}'),
      durations: await proxy.metric('spliceway_tunnel_duration_seconds_count'),
    };
    const tunnel = await openTunnel(t, proxy, await listenOn(t, host));
    t.equal(await proxy.metric(`spliceway_tunnels_active{engine="${engine}"}`), 1);
    t.equal(
      await proxy.metric(established),
      before.established + 1,
      'the answer is counted when it is given',
    );

    tunnel.client.write(Buffer.alloc(5000));
    await readBytes(tunnel.upstream, 5000);
    t.equal(await proxy.metric(up), before.up + 5000, 'while the tunnel is open');
    tunnel.upstream.write(Buffer.alloc(7000));
    await readBytes(tunnel.client, 7000);
    t.equal(await proxy.metric(down), before.down + 7000);
    t.equal(await proxy.metric(up), before.up + 5000);

    await close(proxy, tunnel);
    t.equal(await proxy.metric(up), before.up + 5000, 'and the same when it has ended');
    t.equal(await proxy.metric(down), before.down + 7000);
    t.equal(await proxy.metric(`spliceway_tunnels_active{engine="${engine}"}`), 0);
    t.equal(await proxy.metric(established), before.established + 1);
    t.equal(await proxy.metric('spliceway_tunnel_closes_total{cause="client_fin"}'), before.closes + 1);
    t.equal(await proxy.metric('spliceway_tunnel_duration_seconds_count'), before.durations + 1);
  }
  const total = await byLabel(proxy, 'spliceway_tunnels_total', 'engine');
  t.same(Object.values(total), [2]);
});

t.test('the byte counters never decrease while tunnels come and go', async (t) => {
  const proxy = await startProxy(t, ['--allow', '127.0.0.0/8:*']);
  const peer = await listenOn(t);
  peer.server.on('connection', (socket) => {
    socket.resume().on('end', () => socket.end('bye'));
  });
  const seen: number[] = [];
  const look = async () =>
    void seen.push((await byLabel(proxy, 'spliceway_tunnel_bytes_total', 'direction')).up ?? Number.NaN);
  for (let round = 0; round < 20; round += 1) {
    const tunnels = await Promise.all(
      Array.from({ length: 5 }, () => exchange(t, proxy, connectHead(`127.0.0.1:${peer.port}`))),
    );
    await look();
    const ended = tunnels.map(async ({ socket }) => {
      socket.end(Buffer.alloc(10_000));
      await readToEnd(socket);
    });
    // In the midst of it, whenever that is.
    for (let looks = 0; looks < 3; looks += 1) await look();
    await Promise.all(ended);
  }
  await eventually(
    () => proxy.log.filter(({ event }) => event === 'close').length,
    (closed) => closed === 100,
  );
  t.same(
    seen,
    [...seen].sort((a, b) => a - b),
  );
  t.equal((await byLabel(proxy, 'spliceway_tunnel_bytes_total', 'direction')).up, 1_000_000);
});

t.test('durations of dials and lookups are histograms, and the first byte of the upstream too', async (t) => {
  const proxy = await startProxy(t, ['--allow', '127.0.0.0/8:*']);
  const peer = await listenOn(t);
  const literal = await openTunnel(t, proxy, peer);
  t.equal(await proxy.metric('spliceway_dial_duration_seconds_count'), 1, 'while the tunnel is open');
  literal.upstream.write('x');
  await readBytes(literal.client, 1);
  await close(proxy, literal);
  t.equal(await proxy.metric('spliceway_dial_duration_seconds_count'), 1);
  t.equal(await proxy.metric('spliceway_dns_duration_seconds_count'), 0, 'a literal needs no lookup');
  t.equal(await proxy.metric('spliceway_tunnel_first_byte_seconds_count'), 1);
  const { connectMs } = await proxy.until(({ event }) => event === 'close');
  const inSeconds = Number(connectMs) / 1000;
  t.ok(Math.abs((await proxy.metric('spliceway_dial_duration_seconds_sum')) - inSeconds) < 0.0002);

  await close(proxy, await openTunnel(t, proxy, { ...peer, host: 'v4.test' }));
  t.equal(await proxy.metric('spliceway_dial_duration_seconds_count'), 2);
  t.equal(await proxy.metric('spliceway_dns_duration_seconds_count'), 1);
  t.equal(await proxy.metric('spliceway_tunnel_first_byte_seconds_count'), 1, 'no byte, no time');

  t.equal((await exchange(t, proxy, connectHead(`127.0.0.77:${peer.port}`))).status, 502);
  await proxy.until(({ event, reason }) => event === 'close' && reason === 'connection_refused');
  t.equal(await proxy.metric('spliceway_dial_duration_seconds_count'), 3, 'failures take time too');
});

t.test('a connection that says nothing is no request, and counted apart', async (t) => {
  const proxy = await startProxy(t);
  const silent = await connectRaw(t, proxy);
  silent.end();
  await readToEnd(silent);
  const dropped = await eventually(
    () => byLabel(proxy, 'spliceway_connections_dropped_total', 'why'),
    ({ silent = 0 }) => silent > 0,
  );
  t.same(dropped, { silent: 1, incomplete: 0, limit: 0 });
  t.equal(await proxy.metric('spliceway_connections_total'), 1);
});
