import { open } from 'node:fs/promises';

import { type Child, describeExit } from './child.js';
import { RehearsalFailure } from './failure.js';
import { poll } from './poll.js';
import { type Progress, parseProgress } from './progress.js';
import type { Workspace } from './workspace.js';

/** One run of rsync, as MTC's rsync pod does it. `environment` is added to rsync's. */
export interface TransferOptions {
  readonly source: string;
  readonly port: number;
  readonly module: string;
  readonly password: string;
  readonly host?: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly onProgress?: (progress: Progress) => void;
}

/**
 * rsync's options as MTC gives them, before source and destination.
 *
 * Source: `getRsyncOptions` of migtools/mig-controller.
 */
export const MTC_RSYNC_OPTIONS = [
  ...['--archive', '--delete', '--recursive', '--hard-links', '--partial'],
  ...['--info=COPY2,DEL2,REMOVE2,SKIP2,FLIST2,PROGRESS2,STATS2', '--human-readable'],
] as const;

/**
 * Waits as MTC's rsync pod does: `nc -z` against the stunnel client until it succeeds. Every success opens a tunnel
 * that carries nothing. Throws `RehearsalFailure` after `timeoutMs`.
 */
export async function probe(workspace: Workspace, port: number, timeoutMs = 30_000): Promise<void> {
  const open = await poll(
    async () => {
      const nc = await workspace.start('nc', workspace.programs.nc, ['-z', 'localhost', String(port)]);
      return (await nc.ended()).code === 0 ? true : undefined;
    },
    { timeoutMs, signal: workspace.signal },
  );
  if (open === undefined) {
    throw new RehearsalFailure(
      `nc -z localhost ${port} (the stunnel client) failed for ${timeoutMs / 1000} s`,
      {
        remedy: 'Run again with --keep and read stunnel-client.log in the directory that it names.',
      },
    );
  }
}

/**
 * Runs rsync into a daemon's module and returns how long that took, in seconds. Throws `RehearsalFailure` when rsync
 * fails, or says nothing for a minute.
 */
export async function transfer(workspace: Workspace, options: TransferOptions): Promise<number> {
  const destination = `rsync://root@${options.host ?? 'localhost'}/${options.module}`;
  const started = performance.now();
  const rsync = await workspace.start(
    'rsync',
    workspace.programs.rsync,
    [
      ...[...MTC_RSYNC_OPTIONS, '--port', String(options.port), '--log-file', '/dev/stdout'],
      ...[`${options.source}/`, destination],
    ],
    { RSYNC_PASSWORD: options.password, ...options.environment },
  );
  await followToEnd(rsync, workspace, options.onProgress);
  return (performance.now() - started) / 1000;
}

const SILENT_AT_MOST_MS = 60_000;

async function followToEnd(
  rsync: Child,
  workspace: Workspace,
  onProgress: ((progress: Progress) => void) | undefined,
): Promise<void> {
  const log = await open(rsync.logFile);
  let last: Progress | undefined;
  try {
    for (let seenBytes = 0; rsync.exit === undefined; ) {
      const news = await poll(
        async () => {
          const { size } = await log.stat();
          return size > seenBytes ? size : rsync.exit && seenBytes;
        },
        { timeoutMs: SILENT_AT_MOST_MS, signal: workspace.signal },
      );
      if (news === undefined) throw await failed(rsync, `said nothing for ${SILENT_AT_MOST_MS / 1000} s`);
      const { buffer } = await log.read(Buffer.alloc(news - seenBytes), 0, news - seenBytes, seenBytes);
      seenBytes = news;
      const progress = parseProgress(buffer.toString('utf8'));
      if (progress !== undefined) onProgress?.(progress);
      last = progress ?? last;
    }
  } finally {
    await log.close();
  }
  const exit = await rsync.ended();
  if (exit.code !== 0) throw await failed(rsync, describeExit(exit));
  // rsync rounds down, and counts a file with two names twice.
  if (last !== undefined) onProgress?.({ ...last, percent: 100 });
}

async function failed(rsync: Child, how: string): Promise<RehearsalFailure> {
  return new RehearsalFailure(`rsync ${how}`, {
    excerpts: [await rsync.excerpt(/rsync|error|proxy/i)],
    remedy: 'The logs above say why. Run again with --keep to read all of them.',
  });
}
