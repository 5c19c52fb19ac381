import { closeSync, openSync, readSync } from 'node:fs';

/** The most that is read of a file: some thousands of policies, in a few seconds. */
export const LARGEST_FILE_BYTES = 4 << 20;

/**
 * The text of a file, of a pipe, or with `-` of standard input.
 *
 * @returns or why there is none, with what to do
 */
export function readInput(path: string): { readonly text: string } | { readonly problem: string } {
  let bytes: Buffer;
  try {
    bytes = readBytes(path);
  } catch (error) {
    return { problem: REASONS[codeOf(error)] ?? `cannot be read (${codeOf(error)})` };
  }
  if (bytes.length > LARGEST_FILE_BYTES)
    return {
      problem: `is larger than ${LARGEST_FILE_BYTES >> 20} MiB: take one namespace after the other, or only the kinds that are looked at, as in oc get networkpolicy,egressfirewall -o yaml`,
    };
  if (bytes[0] === 0xff || bytes[0] === 0xfe)
    return { problem: 'is in UTF-16, as PowerShell writes it: save it as UTF-8' };
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return text.includes('\0') ? { problem: NO_TEXT } : { text };
  } catch {
    return { problem: NO_TEXT };
  }
}

const NO_TEXT = 'is no text: give manifests in YAML or JSON, or a squid.conf';

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist',
  EACCES: 'cannot be read: you are not allowed to',
  EISDIR: 'is a directory: give the files in it, as a shell writes them: --lint DIRECTORY/*.yaml',
};

function readBytes(path: string): Buffer {
  const descriptor = path === '-' ? 0 : openSync(path, 'r');
  try {
    const pieces: Buffer[] = [];
    for (let length = 0; length <= LARGEST_FILE_BYTES; ) {
      const piece = Buffer.allocUnsafe(1 << 16);
      const count = readSome(descriptor, piece);
      if (count === 0) break;
      length += count;
      pieces.push(piece.subarray(0, count));
    }
    return Buffer.concat(pieces);
  } finally {
    if (path !== '-') closeSync(descriptor);
  }
}

function readSome(descriptor: number, into: Buffer): number {
  for (;;) {
    try {
      return readSync(descriptor, into);
    } catch (error) {
      if (codeOf(error) === 'EOF') return 0;
      // Standard input may be a terminal or a pipe that somebody set not to block.
      if (codeOf(error) !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
    }
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}
