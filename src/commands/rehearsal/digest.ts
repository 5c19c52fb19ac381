import { createHash, type Hash } from 'node:crypto';
import { createReadStream, type Stats } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';

/** What a tree is: `sha256` (hexadecimal) over all of it, and how much that was. */
export interface TreeDigest {
  readonly sha256: string;
  /** Files, directories and links, without the root. */
  readonly entries: number;
  /** The contents of the files, those with several names counted once. */
  readonly contentBytes: number;
}

/**
 * SHA-256 over a tree in sorted order: every name, kind and mode (the root's as well), the contents of files, where
 * symbolic links lead, and which names are hard links of one file. Times and owners are not part of it: a rehearsal
 * without root's rights cannot give files away. Contents are streamed. Throws what the file system throws.
 */
export async function digestTree(directory: string, signal: AbortSignal): Promise<TreeDigest> {
  const digest = {
    hash: createHash('sha256'),
    names: new Map<string, string>(),
    entries: -1,
    contentBytes: 0,
    signal,
  };
  await addEntry(digest, directory, '.');
  return { sha256: digest.hash.digest('hex'), entries: digest.entries, contentBytes: digest.contentBytes };
}

interface Digest {
  readonly hash: Hash;
  /** The first name of each file that has several, by device and inode. */
  readonly names: Map<string, string>;
  readonly signal: AbortSignal;
  entries: number;
  contentBytes: number;
}

async function addEntry(digest: Digest, path: string, name: string): Promise<void> {
  digest.signal.throwIfAborted();
  digest.entries += 1;
  const stats = await lstat(path);
  digest.hash.update(`${JSON.stringify([name, kindOf(stats), stats.mode & 0o7777])}\n`);
  if (stats.isSymbolicLink()) {
    digest.hash.update(`${JSON.stringify(await readlink(path))}\n`);
  } else if (stats.isFile()) {
    await addFile(digest, path, name, stats);
  } else if (stats.isDirectory()) {
    // The default order is by code unit: the same on both sides, whatever the locale.
    for (const child of (await readdir(path)).sort())
      await addEntry(digest, join(path, child), `${name}/${child}`);
  }
}

async function addFile(digest: Digest, path: string, name: string, stats: Stats): Promise<void> {
  if (stats.nlink > 1) {
    const inode = `${stats.dev}:${stats.ino}`;
    const first = digest.names.get(inode);
    if (first !== undefined) {
      digest.hash.update(`${JSON.stringify(['hard link of', first])}\n`);
      return;
    }
    digest.names.set(inode, name);
  }
  digest.contentBytes += stats.size;
  digest.hash.update(`${stats.size}\n`);
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024, signal: digest.signal })) {
    digest.hash.update(chunk);
  }
}

function kindOf(stats: Stats): string {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  return stats.isSymbolicLink() ? 'symbolic link' : 'other';
}
