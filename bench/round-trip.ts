import { figures, type Measure, type Metric } from './measure.js';
import type { Stage } from './stage.js';

/** What a proxy adds to a message and its answer. */
export const ROUND_TRIP: Measure = {
  name: 'round-trip',
  summary: '64 bytes there and back over one tunnel, p50 and p99, and what is added over no proxy',
  trials: [
    {
      name: 'round-trip',
      title: 'Round trip of 64 bytes over one tunnel',
      metrics: [
        microseconds('p50', 'p50'),
        microseconds('p99', 'p99'),
        // Filled in by results.ts, which knows the figures of `direct` in the same round.
        microseconds('addedP50', 'p50 added over direct', true),
        microseconds('addedP99', 'p99 added over direct'),
      ],
      direct: true,
      estimateMs: ({ roundTrips }) => 900 + roundTrips / 10,
      run,
    },
  ],
};

function microseconds(key: string, title: string, compared = false): Metric {
  return { key, title, unit: 'µs', compared, digits: 1 };
}

async function run(stage: Stage) {
  await stage.check(8);
  stage.separate();
  const { roundTrips } = stage.sizes;
  const end = await stage.run('round-trips', 'common', {
    bytes: 64,
    count: roundTrips,
    warmup: roundTrips / 10,
  });
  return figures({ p50: Number(end.p50) / 1e3, p99: Number(end.p99) / 1e3 });
}
