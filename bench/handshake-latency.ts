import { setTimeout as sleep } from 'node:timers/promises';
import { figures, type Measure, type Metric } from './measure.js';
import type { Stage } from './stage.js';

/** Handshakes started in a second, whatever becomes of them. */
const RATE = 200;

/** How many may be under way; beyond that the contender cannot keep up with the rate, and the trial fails. */
const CONCURRENCY = 1000;

/** Tunnels that carry as much as will go. */
const BULK_TUNNELS = 8;

/** What a new tunnel waits for while others are busy. */
export const HANDSHAKE_LATENCY: Measure = {
  name: 'handshake-latency',
  summary: `handshake p50 and p99 at rest and while ${BULK_TUNNELS} bulk tunnels run`,
  trials: [
    {
      name: 'handshake-latency',
      title: `Latency of ${RATE} handshakes a second, at rest and beside ${BULK_TUNNELS} bulk tunnels`,
      metrics: [
        milliseconds('restP50', 'p50 at rest'),
        milliseconds('restP99', 'p99 at rest'),
        milliseconds('busyP50', 'p50 beside bulk'),
        milliseconds('busyP99', 'p99 beside bulk'),
        { key: 'ratioP99', title: 'p99 beside bulk ÷ at rest', unit: '', compared: false, digits: 2 },
      ],
      direct: true,
      estimateMs: ({ latencyWarmupMs, latencyWindowMs }) => 1200 + 2 * (latencyWarmupMs + latencyWindowMs),
      run,
    },
  ],
};

function milliseconds(key: string, title: string): Metric {
  return { key, title, unit: 'ms', compared: true, digits: 2 };
}

async function run(stage: Stage) {
  await stage.check(BULK_TUNNELS);
  const rest = await handshakes(stage);
  const bulk = stage.client('bulk', 'common', { tunnels: BULK_TUNNELS });
  await bulk.next('ready');
  await sleep(stage.sizes.bulkWarmupMs);
  const busy = await handshakes(stage);
  if (!bulk.running) throw bulk.failure('ended early');
  return figures({
    restP50: rest.p50,
    restP99: rest.p99,
    busyP50: busy.p50,
    busyP99: busy.p99,
    ratioP99: busy.p99 / rest.p99,
  });
}

/** p50 and p99 in milliseconds, from the moment when each was due. */
async function handshakes(stage: Stage) {
  const end = await stage.run('handshakes', 'prompt', {
    rate: RATE,
    concurrency: CONCURRENCY,
    realtime: 1,
    'warmup-ms': stage.sizes.latencyWarmupMs,
    'duration-ms': stage.sizes.latencyWindowMs,
  });
  return { p50: Number(end.p50) / 1e6, p99: Number(end.p99) / 1e6 };
}
