import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** Ticks of a second in /proc/PID/stat: USER_HZ, 100 on every Linux. */
const TICKS = 100;

/**
 * User and system time of a process, of its descendants and of those that it has waited for, in seconds (proc_pid_stat(5)), to the
 * hundredth of a second.
 */
export function cpuSeconds(root: number): number {
  let ticks = 0;
  for (const { times } of tree(root)) ticks += times;
  return ticks / TICKS;
}

/** Proportional set size of a process and its descendants (proc_pid_smaps_rollup(5)), in bytes: pages that are shared count in parts. */
export function pssBytes(root: number): number {
  let kibibytes = 0;
  for (const { pid } of tree(root)) {
    const rollup = read(`/proc/${pid}/smaps_rollup`);
    kibibytes += Number(/^Pss:\s+(\d+) kB$/m.exec(rollup ?? '')?.[1] ?? 0);
  }
  return kibibytes * 1024;
}

/** A process and its descendants. */
export function processTree(root: number): number[] {
  return tree(root).map(({ pid }) => pid);
}

/** Keeps all threads of a process on some cores: a list as of taskset(1). */
export function setCores(pid: number, list: string): void {
  execFileSync('taskset', ['--all-tasks', '--cpu-list', '--pid', list, String(pid)], { stdio: 'ignore' });
}

interface Entry {
  readonly pid: number;
  readonly parent: number;
  /** utime + stime + cutime + cstime, in ticks. */
  readonly times: number;
}

function tree(root: number): Entry[] {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => entry(Number(name)))
    .filter((one) => one !== undefined);
  const within = all.filter(({ pid }) => pid === root);
  for (const { pid } of within) within.push(...all.filter(({ parent }) => parent === pid));
  return within;
}

function entry(pid: number): Entry | undefined {
  const stat = read(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // The name of the program may hold anything, blanks and brackets included.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const number = (index: number) => Number(fields[index]);
  return { pid, parent: number(1), times: number(11) + number(12) + number(13) + number(14) };
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
