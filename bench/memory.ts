import { setTimeout as sleep } from 'node:timers/promises';
import { figures, type Measure, type Metric } from './measure.js';
import type { Stage } from './stage.js';

/** What an idle tunnel keeps. */
export const MEMORY: Measure = {
  name: 'memory',
  summary: 'memory (PSS) per idle tunnel',
  trials: [
    {
      name: 'memory',
      title: 'Memory (PSS) per idle tunnel',
      metrics: [
        kibibytes('perTunnel', 'per tunnel', 2),
        kibibytes('perTunnelFresh', 'per tunnel, process fresh', 2),
        kibibytes('perTunnelAgain', 'per tunnel, second time', 2),
        kibibytes('base', 'process without tunnels', 0),
      ],
      direct: false,
      estimateMs: ({ settleMs, idleTunnels }) => 1500 + 4 * 1.5 * settleMs + idleTunnels * 2,
      run,
    },
  ],
};

function kibibytes(key: string, title: string, digits: number): Metric {
  return { key, title, unit: 'KiB', compared: key === 'perTunnel', digits };
}

/**
 * The warm-up is twice as many short tunnels as are to be held, 50 at a time: a heap grows to what handshakes as such take, while
 * hardly a pool fills with what tunnels leave behind, as it would if they were opened all at once.
 */
async function run(stage: Stage) {
  const { idleTunnels } = stage.sizes;
  await stage.check(8);
  const fresh = await settled(stage);
  await stage.run('handshakes', 'common', { concurrency: 50, count: 2 * idleTunnels });
  const without = await settled(stage);
  const held = await hold(stage);
  const withoutAgain = await settled(stage);
  const again = await hold(stage);
  return figures({
    perTunnel: (held - without) / idleTunnels / 1024,
    perTunnelFresh: (held - fresh) / idleTunnels / 1024,
    perTunnelAgain: (again - withoutAgain) / idleTunnels / 1024,
    base: without / 1024,
  });
}

/** Memory while all tunnels are held, in bytes. Each carries a byte each way before and after. */
async function hold(stage: Stage): Promise<number> {
  const client = stage.client('idle', 'common', { tunnels: stage.sizes.idleTunnels });
  await client.next('ready');
  const bytes = await settled(stage);
  client.end();
  await client.next('end');
  await client.ended();
  return bytes;
}

/** Memory without garbage, once it stands still. */
async function settled(stage: Stage): Promise<number> {
  await stage.collectGarbage();
  const { settleMs, settleMostMs } = stage.sizes;
  const deadline = performance.now() + settleMostMs;
  let bytes = stage.pssBytes() ?? 0;
  let since = performance.now();
  while (performance.now() < deadline && performance.now() - since < settleMs) {
    await sleep(settleMs / 4);
    const now = stage.pssBytes() ?? 0;
    // A few pages come and go.
    if (Math.abs(now - bytes) > 64 * 1024) since = performance.now();
    bytes = now;
  }
  return bytes;
}
