import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

/** What fits into the descriptors of this process. */
export interface Room {
  readonly tunnels: number;
  /** Those that are being refused included. */
  readonly connections: number;
  /** For the log. */
  readonly warnings: readonly string[];
}

/** What the room is for. */
export interface RoomOptions {
  /** Whether the splice engine runs, which needs some descriptors for itself. */
  readonly splice: boolean;
  /** Of the splice engine. */
  readonly threads: number;
  /** Tunnels asked for; 0: as many as fit. */
  readonly wanted: number;
}

/**
 * How many tunnels and connections fit: a tunnel holds two descriptors; a tenth of the room is left for connections that are being
 * refused, so that refusing needs no descriptor that is not there.
 */
export function roomForTunnels({ splice, threads, wanted }: RoomOptions): Room {
  const descriptors = descriptorLimit();
  const ofEngine = splice ? descriptorsOfSplice(threads, descriptors) : 0;
  const room = Math.max(descriptors - RESERVED_DESCRIPTORS - ofEngine, 20);
  const most = Math.floor(room * 0.45);
  return {
    tunnels: wanted === 0 ? most : Math.min(wanted, most),
    connections: Math.floor(room * 0.55),
    warnings:
      wanted > most
        ? [
            `--max-tunnels ${wanted} needs more than the ${descriptors} file descriptors of this process: ${most} tunnels at most; raise the limit (ulimit -n, LimitNOFILE)`,
          ]
        : [],
  };
}

/** Cores that this process may use: Node before 22.12 does not know the CPU limit of a container (cgroup v2, cpu.max). */
export function usableCores(): number {
  try {
    const [quota, period] = readFileSync('/sys/fs/cgroup/cpu.max', 'latin1').split(' ');
    const cores = Math.ceil(Number(quota) / Number(period));
    if (cores >= 1) return Math.min(cores, availableParallelism());
  } catch {
    // No such file, no such limit.
  }
  return availableParallelism();
}

/** Descriptors that are not for tunnels: libuv's own, the listeners, the log, name servers, scrapes. */
const RESERVED_DESCRIPTORS = 64;

/**
 * What the native core may need beside the tunnels' own: two for each thread, and pipes while bytes are in them. Without a pipe it
 * copies, so that few descriptors are better spent on tunnels.
 */
function descriptorsOfSplice(threads: number, descriptors: number): number {
  return 2 * threads + Math.min(2 * PIPES, Math.floor(descriptors / 8));
}

/** As many as the 64 MiB of pipes of an unprivileged user make: pipe(7), pipe-user-pages-soft. */
const PIPES = 64;

/** The soft limit of open files (getrlimit(2)); where the system does not tell, a modest one. */
function descriptorLimit(): number {
  try {
    return Number(
      /^Max open files\s+([0-9]+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1] ?? 1024,
    );
  } catch {
    return 1024;
  }
}
