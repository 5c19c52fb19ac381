import { figures, type Measure } from './measure.js';
import type { Stage } from './stage.js';

/** How many are under way at any moment. */
const CONCURRENCY = 50;

/** Short tunnels, one after the other. */
export const HANDSHAKES: Measure = {
  name: 'handshakes',
  summary: 'tunnels per second and CPU per tunnel: CONNECT, credentials, one byte there and back',
  trials: [
    {
      name: 'handshakes',
      title: `Handshakes, ${CONCURRENCY} at a time: CONNECT, credentials, one byte there and back, end`,
      metrics: [
        { key: 'rate', title: 'tunnels', unit: '/s', compared: true, digits: 0 },
        { key: 'cpu', title: 'CPU', unit: 'µs/tunnel', compared: true, digits: 0 },
        { key: 'p50', title: 'p50', unit: 'ms', compared: false, digits: 2 },
        { key: 'p99', title: 'p99', unit: 'ms', compared: false, digits: 2 },
      ],
      direct: true,
      estimateMs: ({ handshakesWarmupMs, handshakesWindowMs }) =>
        900 + handshakesWarmupMs + handshakesWindowMs,
      run,
    },
  ],
};

async function run(stage: Stage) {
  await stage.check(8);
  const client = stage.client('handshakes', 'common', {
    concurrency: CONCURRENCY,
    'warmup-ms': stage.sizes.handshakesWarmupMs,
    'duration-ms': stage.sizes.handshakesWindowMs,
  });
  await client.next('begin');
  const before = stage.cpuSeconds();
  const end = await client.next('end');
  const after = stage.cpuSeconds();
  await client.ended();
  const tunnels = Number(end.tunnels);
  return figures({
    rate: tunnels / (Number(end.ns) / 1e9),
    cpu: after === undefined || before === undefined ? undefined : ((after - before) * 1e6) / tunnels,
    p50: Number(end.p50) / 1e6,
    p99: Number(end.p99) / 1e6,
  });
}
