import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem } from 'node:os';

/** What the figures were measured on. */
export interface Machine {
  readonly kernel: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly node: string;
  /** /proc/sys/fs/pipe-user-pages-soft: pages that the pipes of one ordinary user may hold. */
  readonly pipeUserPagesSoft: number;
}

/** Reads them. */
export function machine(): Machine {
  return {
    kernel: release(),
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    pipeUserPagesSoft: Number(readFileSync('/proc/sys/fs/pipe-user-pages-soft', 'utf8')),
  };
}
