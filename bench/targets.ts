import type { Results } from './results.js';

/** What spliceway's `splice` is to reach; a row of {@link TARGETS}. */
export interface Target {
  readonly title: string;
  readonly trial: string;
  readonly key: string;
  /** Whose median it is divided by; absent: it stands for itself. */
  readonly than?: 'haproxy' | 'squid';
  readonly unit?: string;
  readonly bound: 'at most' | 'at least';
  readonly limit: number;
  /** Better than reached. */
  readonly aim?: number;
}

/** A target and what became of it. */
export interface Verdict {
  readonly target: Target;
  /** Undefined: not measured. */
  readonly value: number | undefined;
  readonly reached: boolean | undefined;
}

const BULK = ['bulk-1', 'bulk-8', 'bulk-100'] as const;

export const TARGETS: readonly Target[] = [
  ...BULK.flatMap((trial): Target[] => [
    { ...cpu(trial), than: 'haproxy', limit: 1, aim: 0.75 },
    { ...cpu(trial), than: 'squid', limit: 0.3 },
  ]),
  ...BULK.flatMap((trial): Target[] => [
    { ...throughput(trial), than: 'haproxy', limit: 1 },
    { ...throughput(trial), than: 'squid', limit: 2 },
  ]),
  {
    title: 'tunnels per second',
    trial: 'handshakes',
    key: 'rate',
    than: 'squid',
    bound: 'at least',
    limit: 1.5,
    aim: 3,
  },
  {
    title: 'round trip p50 added',
    trial: 'round-trip',
    key: 'addedP50',
    than: 'haproxy',
    bound: 'at most',
    limit: 1,
  },
  {
    title: 'memory per idle tunnel',
    trial: 'memory',
    key: 'perTunnel',
    unit: 'KiB',
    bound: 'at most',
    limit: 2,
    aim: 1,
  },
  {
    title: 'handshake p99 beside 8 bulk tunnels ÷ at rest',
    trial: 'handshake-latency',
    key: 'ratioP99',
    bound: 'at most',
    limit: 2,
  },
  {
    title: 'Jain index over 100 tunnels',
    trial: 'bulk-100',
    key: 'jain',
    bound: 'at least',
    limit: 0.95,
  },
];

function cpu(trial: string) {
  return { title: `CPU per GiB, ${trial}`, trial, key: 'cpu', bound: 'at most' } as const;
}

function throughput(trial: string) {
  return { title: `throughput, ${trial}`, trial, key: 'throughput', bound: 'at least' } as const;
}

/** What of {@link TARGETS} was reached. */
export function judge(results: Results): Verdict[] {
  return TARGETS.map((target) => {
    const { trial, key, than, bound, limit } = target;
    const own = { trial, key, contender: 'splice' };
    const value =
      than === undefined
        ? results.summary(trial, 'splice', key)?.median
        : results.ratio(own, { ...own, contender: than });
    const reached = value === undefined ? undefined : bound === 'at most' ? value <= limit : value >= limit;
    return { target, value, reached };
  });
}
