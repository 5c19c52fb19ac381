import { randomFillSync } from 'node:crypto';
import { chmod, link, mkdir, open, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** What to generate: contents of `sizeBytes` in all, a fifth of it in `files` small files (0 or more). */
export interface TreeOptions {
  readonly sizeBytes: number;
  readonly files: number;
  readonly signal: AbortSignal;
}

/**
 * Fills a new directory with what volumes are like: one large file (random, compressible and empty stretches, the
 * empty ones as holes), many small files of different sizes and modes in deep and shallow directories, an empty
 * file, an empty directory, names with spaces and umlauts, a symbolic link, one that leads nowhere, a hard link.
 *
 * The contents add up to exactly `sizeBytes`. Throws the signal's reason when interrupted.
 */
export async function generateTree(
  directory: string,
  { sizeBytes, files, signal }: TreeOptions,
): Promise<void> {
  await mkdir(directory, { recursive: true });
  const small = smallSizesBytes(sizeBytes, files);
  const largeBytes = sizeBytes - small.reduce((sum, size) => sum + size, 0);
  await writeLargeFile(join(directory, 'database', 'volume.img'), largeBytes, signal);

  for (const [index, bytes] of small.entries()) {
    const path = join(directory, smallName(index));
    await mkdir(dirname(path), { recursive: true });
    await writeStretches(path, bytes, index, signal);
    await chmod(path, MODES[index % MODES.length] ?? 0o644);
  }

  await writeFile(join(directory, 'empty file'), '');
  await mkdir(join(directory, 'empty directory'));
  await chmod(join(directory, 'empty directory'), 0o750);
  await symlink(join('database', 'volume.img'), join(directory, 'current'));
  await symlink(join('nowhere', 'at-all'), join(directory, 'dangling'));
  // Of a small file: rsync counts the second name of a large one as still to be sent, and would end at 50 %.
  const linked = files > 0 ? smallName(0) : 'empty file';
  await link(join(directory, linked), join(directory, 'second name'));
}

const BLOCK_BYTES = 1024 * 1024;
const MODES = [0o644, 0o600, 0o755, 0o444, 0o660];
const DEEP = Array.from({ length: 20 }, (_, level) => `level-${level + 1}`).join('/');
const WORDS = Buffer.alloc(BLOCK_BYTES, 'the same words again and again, as logs and tables have them; ');

// Sizes grow from file to file, over and over, so that there are tiny ones and larger ones whatever the total is.
function smallSizesBytes(sizeBytes: number, files: number): readonly number[] {
  const weights = Array.from({ length: files }, (_, index) => 2 ** (index % 12));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => Math.floor(((sizeBytes / 5) * weight) / sum));
}

function smallName(index: number): string {
  const bucket = index % 25;
  if (bucket === 0) return join(DEEP, `deep-${index}.dat`);
  if (bucket === 1) return join('with spaces', `Übersicht ${index}.txt`);
  return join('files', `${bucket}`, `file-${index}.dat`);
}

async function writeLargeFile(path: string, bytes: number, signal: AbortSignal): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeStretches(path, bytes, 0, signal);
}

// Of every eight blocks six are random, one is words, one is a hole; `first` varies where that starts.
async function writeStretches(
  path: string,
  bytes: number,
  first: number,
  signal: AbortSignal,
): Promise<void> {
  const random = Buffer.alloc(Math.min(bytes, BLOCK_BYTES));
  const file = await open(path, 'wx');
  try {
    for (let at = 0, nth = first; at < bytes; at += BLOCK_BYTES, nth += 1) {
      signal.throwIfAborted();
      if (nth % 8 === 7) continue;
      const length = Math.min(bytes - at, BLOCK_BYTES);
      const block = nth % 8 === 6 ? WORDS : randomFillSync(random);
      await file.write(block, 0, length, at);
    }
    // The hole at the end, if there is one.
    await file.truncate(bytes);
  } finally {
    await file.close();
  }
}
