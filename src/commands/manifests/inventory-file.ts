import { randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { stringify } from 'yaml';
import { type OptionRow, rowsOf } from '../../config/table.js';
import { MANIFEST } from '../../config/tables.js';
import { formatAuthority } from '../../target.js';
import type { Material } from './manifest.js';

/** What only the one who migrates knows, as an example. */
const EXAMPLES: Readonly<Record<string, string>> = {
  image: 'registry.example/spliceway:0.1.0',
  'pull-secret': 'registry-credentials',
  client: '[198.51.100.0/24]',
  proxy: 'proxy.example:3128',
  'proxy-address': '[192.0.2.10/32]',
  'source-namespace': '[shop, blog]',
  'dns-server': '[192.0.2.53/32]',
  'target-apps': 'apps.target.example',
  'target-api': 'api.target.example:6443',
  'target-router': '[203.0.113.10/32]',
  'proxy-source': '[192.0.2.10/32]',
  'target-namespace': '[shop, blog]',
  without: '[ServiceMonitor]',
};

const HEAD = `# Parameters of spliceway manifest --inventory FILE. Take the # off what you change.
# The password is invented, and in here from now on: keep the file where only you read it.
`;

/** An inventory with every key: what was given as it is, defaults and examples commented out, and a password of its own. */
export function inventoryFile(material: Material): string {
  const password = material.password ?? randomBytes(16).toString('hex');
  const rows = rowsOf(MANIFEST).filter(([, { flagOnly }]) => flagOnly === undefined);
  const groups = [...new Set(rows.map(([, { group }]) => group))].map((group) => {
    const lines = rows
      .filter(([, row]) => row.group === group)
      .map(([key, row]) => entry(row, key === 'password' ? password : material[key]));
    return `\n# --- ${group}\n\n${lines.join('')}`;
  });
  return `${HEAD}${groups.join('')}`;
}

function entry(row: OptionRow<unknown>, value: unknown): string {
  const isDefault = row.default !== undefined && isDeepStrictEqual(row.parse(row.default).value, value);
  const written = isDefault ? undefined : writtenValue(row, value);
  const shown = written ?? row.default ?? EXAMPLES[row.name] ?? '';
  return `# ${row.help}\n${written === undefined ? '#' : ''}${row.name}: ${shown}\n`;
}

/** A value as an option takes it; undefined where there is none. */
function writtenValue(row: OptionRow<unknown>, value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (Array.isArray(value))
    return value.length === 0 ? undefined : `[${value.map((each) => writtenValue(row, each)).join(', ')}]`;
  if (typeof value === 'number') return row.placeholder === 'TIME' ? durationOf(value) : String(value);
  const isTarget = typeof value === 'object' && value !== null && 'host' in value && 'port' in value;
  const text = isTarget ? formatAuthority(String(value.host), Number(value.port)) : String(value);
  return stringify(text, { lineWidth: 0 }).trimEnd();
}

function durationOf(ms: number): string {
  return ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`;
}
