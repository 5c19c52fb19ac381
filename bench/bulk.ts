import { setTimeout as sleep } from 'node:timers/promises';
import { figures, type Measure, type Metric, type Trial } from './measure.js';
import { BenchError, type Child } from './processes.js';
import { type Mark, mark, type Stage } from './stage.js';
import { jainIndex } from './statistics.js';

const GIB = 2 ** 30;

/** How long bytes on their way may take to arrive once nothing more is sent, in milliseconds. */
const ARRIVAL_MS = 10_000;

const THROUGHPUT: Metric = {
  key: 'throughput',
  title: 'throughput',
  unit: 'GiB/s',
  compared: true,
  digits: 2,
};
const CPU: Metric = { key: 'cpu', title: 'CPU', unit: 's/GiB', compared: true, digits: 3 };
const JAIN: Metric = { key: 'jain', title: 'fairness (Jain index)', unit: '', compared: false, digits: 3 };

/** As many bytes as will go. */
export const BULK: Measure = {
  name: 'bulk',
  summary: 'throughput and CPU per GiB of 1, 8, 100 tunnels and of 8 in both directions; fairness over 100',
  trials: [
    trial({ tunnels: 1, both: false }),
    trial({ tunnels: 8, both: false }),
    trial({ tunnels: 100, both: false }),
    trial({ tunnels: 8, both: true }),
  ],
};

interface Shape {
  readonly tunnels: number;
  readonly both: boolean;
}

function trial(shape: Shape): Trial {
  const { tunnels, both } = shape;
  const many = tunnels === 1 ? '1 tunnel' : `${tunnels} tunnels`;
  return {
    name: `${both ? 'both' : 'bulk'}-${tunnels}`,
    title: `Bulk, ${many}, ${both ? 'both directions at once' : 'towards the target'}`,
    metrics: [THROUGHPUT, CPU, ...(tunnels === 100 ? [JAIN] : [])],
    direct: true,
    estimateMs: ({ bulkWarmupMs, bulkWindowMs }) => 900 + bulkWarmupMs + bulkWindowMs,
    run: (stage) => run(stage, shape),
  };
}

async function run(stage: Stage, { tunnels, both }: Shape) {
  await stage.check(tunnels);
  const client = stage.client('bulk', 'common', { tunnels, both: both ? 1 : 0 });
  await client.next('ready');
  await sleep(stage.sizes.bulkWarmupMs);
  const before = await moment(stage, client);
  await sleep(stage.sizes.bulkWindowMs);
  const after = await moment(stage, client);
  await everythingArrives(stage, client);

  const up = difference(before.sink, after.sink);
  const down = difference(before.client, after.client);
  // What the client received is nothing where the sink does not send.
  const bytes = up.bytes + down.bytes;
  const shares = after.sink.tunnels.map((total, index) => total - (before.sink.tunnels[index] ?? 0));
  return figures({
    throughput: (up.bytes / up.seconds + down.bytes / down.seconds) / GIB,
    cpu:
      after.cpu === undefined || before.cpu === undefined
        ? undefined
        : (after.cpu - before.cpu) / (bytes / GIB),
    jain: tunnels === 100 ? jainIndex(shares) : undefined,
  });
}

async function moment(stage: Stage, client: Child) {
  const [sink, own] = await Promise.all([stage.markServer(), mark(client)]);
  return { sink, client: own, cpu: stage.cpuSeconds() };
}

function difference(before: Mark, after: Mark) {
  return { bytes: after.receivedBytes - before.receivedBytes, seconds: (after.ns - before.ns) / 1e9 };
}

/** Once both sides have stopped, each has received exactly what the other has sent. */
async function everythingArrives(stage: Stage, client: Child): Promise<void> {
  await stage.stopServer();
  client.send('stop');
  await client.next('stopped');
  const deadline = performance.now() + ARRIVAL_MS;
  for (;;) {
    const sink = await stage.markServer();
    const own = await mark(client);
    if (own.sentBytes === sink.receivedBytes && own.receivedBytes === sink.sentBytes) return;
    if (performance.now() > deadline)
      throw new BenchError(
        `BYTES LOST: the client sent ${own.sentBytes} and the sink received ${sink.receivedBytes}; ` +
          `the sink sent ${sink.sentBytes} and the client received ${own.receivedBytes}`,
      );
    await sleep(20);
  }
}
