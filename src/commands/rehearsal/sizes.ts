/**
 * Reads a size: `256MiB`, `1.5 GiB`, `64KiB`, or plain bytes. `undefined` when it is none, is not positive, or is
 * more than can be counted exactly.
 */
export function parseSizeBytes(size: string): number | undefined {
  const [, amount, unit = ''] = /^(\d+(?:\.\d+)?)\s*(KiB|MiB|GiB|B)?$/i.exec(size.trim()) ?? [];
  const factor = UNITS.get(unit.toLowerCase());
  if (amount === undefined || factor === undefined) return undefined;
  const bytes = Math.round(Number(amount) * factor);
  return bytes > 0 && Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** A number of bytes for people: `512 B`, `1.5 KiB`, `256.0 MiB`, `2.0 GiB`. */
export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const names = ['KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes / 1024;
  let step = 0;
  // 1023.95 would be shown as 1024.0.
  for (; value >= 1023.95 && step < names.length - 1; step += 1) value /= 1024;
  return `${value.toFixed(1)} ${names[step]}`;
}

const UNITS = new Map([
  ['', 1],
  ['b', 1],
  ['kib', 1024],
  ['mib', 1024 ** 2],
  ['gib', 1024 ** 3],
]);
