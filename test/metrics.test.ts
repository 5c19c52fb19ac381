import { spawnSync } from 'node:child_process';
import t, { type Test } from 'tap';
import { METRICS, type MetricRow } from '../src/observe/metric-rows.js';
import { REASON_TOKENS, REASONS } from '../src/reasons.js';
import { EXCHANGE_CAUSES } from '../src/relay/delivery.js';
import { ENGINES } from '../src/relay/engines.js';
import { RELAY_CAUSES, RELAY_FALLBACKS } from '../src/relay/relay.js';
import { PASSWORD, type RunningProxy, startProxy, USER } from './fixtures/proxy.js';
import { byLabel, seriesOf } from './fixtures/series.js';
import { connectHead, exchange, listenOn, openTunnel } from './fixtures/sockets.js';

/** Parents have series of their own from the start; this one is for a target that nobody asks for. */
const PARENT = ['--parent', 'p.example=http://p.example:3128'];

const ROWS: readonly (readonly [string, MetricRow])[] = Object.entries(METRICS);

/** The values that a label may ever have; the others (`why`, `le`, versions) are spliceway's own words. */
const CLOSED_SETS: Readonly<Record<string, ReadonlySet<string>>> = {
  reason: new Set([...REASON_TOKENS, 'established', 'forwarded', 'upgraded']),
  code: new Set([
    ...['200', '101', '2xx', '3xx', '4xx', '5xx', 'other'],
    ...REASON_TOKENS.map((token) => String(REASONS[token].status)),
  ]),
  method: new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'other']),
  token: new Set(['websocket', 'SPDY/3.1']),
  result: new Set(['switched', 'declined', 'failed', 'opened', ...REASON_TOKENS]),
  cause: new Set<string>([...RELAY_CAUSES, ...RELAY_FALLBACKS, ...EXCHANGE_CAUSES]),
  engine: new Set(Object.keys(ENGINES)),
  direction: new Set(['up', 'down']),
  state: new Set(['active', 'absent', 'in_use', 'pooled']),
  path: new Set(['splice', 'copy']),
};

async function checkPage(t: Test, proxy: RunningProxy): Promise<void> {
  const { body } = await proxy.page('/metrics');
  // Three gauges of prom-client's own have names that dashboards know and promtool does not like.
  const input = body.replace(/^.*\bnodejs_active_(?:handles|requests|resources)_total\b.*\n/gm, '');
  t.match(body, /^# TYPE nodejs_active_handles_total gauge$/m);
  const checked = spawnSync('promtool', ['check', 'metrics'], { input, encoding: 'utf8' });
  t.same([checked.status, checked.stdout, checked.stderr], [0, '', ''], 'promtool check metrics');

  const series = await seriesOf(proxy);
  const problems: string[] = [];
  for (const [name, { type, labels }] of ROWS) {
    const own = series.filter((each) => each.name === (type === 'histogram' ? `${name}_bucket` : name));
    const expected = [...labels, ...(type === 'histogram' ? ['le'] : [])].sort().join();
    if (own.length === 0) problems.push(`${name} is not there`);
    if (own.some((each) => Object.keys(each.labels).sort().join() !== expected))
      problems.push(`${name} has other labels than ${expected}`);
  }
  for (const { name, labels } of series.filter((each) => each.name.startsWith('spliceway_'))) {
    if (!(name in METRICS) && !(name.replace(/_(?:bucket|sum|count)$/, '') in METRICS))
      problems.push(`${name} is not declared`);
    for (const [label, value] of Object.entries(labels))
      if (CLOSED_SETS[label]?.has(value) === false) problems.push(`${name} has ${label}="${value}"`);
  }
  t.same(problems, [], 'every metric that is declared, no other, and labels of closed sets');
}

t.test('every series is there from the start, as promtool likes it', async (t) => {
  const proxy = await startProxy(t, PARENT);
  await checkPage(t, proxy);
  const series = await seriesOf(proxy);
  const pairs = series
    .filter(({ name }) => name === 'spliceway_requests_total')
    .map(({ labels }) => `${labels.code} ${labels.reason}`);
  const reasons = REASON_TOKENS.map((token) => `${REASONS[token].status} ${token}`);
  const forwarded = ['2xx', '3xx', '4xx', '5xx', 'other'].map((code) => `${code} forwarded`);
  t.same([...pairs].sort(), ['200 established', '101 upgraded', ...forwarded, ...reasons].sort());
  t.same(
    Object.keys(await byLabel(proxy, 'spliceway_tunnel_closes_total', 'cause')).sort(),
    [...RELAY_CAUSES].sort(),
  );
  const counted = series.filter(({ name, value }) => /^spliceway_(?!.*_info$)/.test(name) && value !== 0);
  t.same(counted, [], 'nothing is counted yet');
});

t.test('the metrics of the process and of Node.js are there too', async (t) => {
  const proxy = await startProxy(t);
  const names = new Set((await seriesOf(proxy)).map(({ name }) => name));
  for (const name of [
    'process_cpu_seconds_total',
    'process_resident_memory_bytes',
    'process_open_fds',
    'process_max_fds',
    'process_start_time_seconds',
    'nodejs_eventloop_lag_seconds',
    'nodejs_heap_size_used_bytes',
    'nodejs_heap_space_size_used_bytes',
    'nodejs_version_info',
  ])
    t.ok(names.has(name), name);
});

t.test('build and engine are told as labels', async (t) => {
  const proxy = await startProxy(t);
  const { version, engine, absentEngines } = proxy.log.find(({ event }) => event === 'listening') ?? {};
  const series = await seriesOf(proxy);
  t.same(
    series.filter(({ name }) => name === 'spliceway_build_info'),
    [{ name: 'spliceway_build_info', labels: { version, node_version: process.version }, value: 1 }],
  );
  const engines = series.filter(({ name }) => name === 'spliceway_relay_engine_info');
  t.same(
    engines.map(({ labels }) => labels),
    [
      { engine, state: 'active', why: '' },
      ...(absentEngines as { name: string; why: string }[]).map(({ name, why }) => ({
        engine: name,
        state: 'absent',
        why,
      })),
    ],
  );
});

t.test('nothing that a client sends becomes a label, and the sets stay closed', async (t) => {
  const proxy = await startProxy(t, [...PARENT, '--allow', '127.0.0.0/8:*', '--dns-timeout', '1s']);
  const peer = await listenOn(t);
  const tunnel = await openTunnel(t, proxy, peer);
  const port = String(tunnel.client.localPort);
  tunnel.client.resetAndDestroy();
  await proxy.until(({ event }) => event === 'close');
  const wrong = Buffer.from('mallory:open-sesame').toString('base64');
  const requests = [
    connectHead('needle.test:443'),
    connectHead('needle.test:22'),
    connectHead(`127.0.0.77:${peer.port}`),
    connectHead('needle host:443'),
    connectHead('169.254.169.254:443'),
    'CONNECT needle.test:443 HTTP/1.1\r\nHost: needle.test\r\n\r\n',
    `CONNECT needle.test:443 HTTP/1.1\r\nHost: needle.test\r\nProxy-Authorization: Basic ${wrong}\r\n\r\n`,
    connectHead('needle.test:443').replace('\r\n\r\n', '\r\nUser-Agent: needle-agent\r\n\r\n'),
    'NEEDLE needle.test:443 HTTP/1.1\r\nHost: needle.test\r\n\r\n',
    'GET http://needle.test/ HTTP/1.1\r\nHost: needle.test\r\n\r\n',
  ];
  for (const request of requests) t.not((await exchange(t, proxy, request)).status, 200);
  await checkPage(t, proxy);
  const { body } = await proxy.page('/metrics');
  for (const text of [
    /needle/i,
    'mallory',
    'open-sesame',
    USER,
    PASSWORD,
    '127.0.0',
    '169.254',
    '::1',
    '.test',
  ])
    t.notMatch(body, text);
  // Which may be the bound of a bucket.
  const labels = body.replace(/\ble="[^"]*"/g, '');
  t.notMatch(labels, new RegExp(`"(?:.*:)?(?:${port}|${peer.port})"`), 'no port');
});
