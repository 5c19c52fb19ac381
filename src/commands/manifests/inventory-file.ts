import { randomBytes } from 'node:crypto';
import { rowsOf } from '../../config/table.js';
import { MANIFEST } from '../../config/tables.js';
import type { Material } from './manifest.js';

/** What only the one who migrates knows: written into the file as an example, commented out. */
const EXAMPLES: Readonly<Record<string, string>> = {
  image: 'registry.example/spliceway:0.1.0',
  client: '[198.51.100.0/24]',
  proxy: 'proxy.example:3128',
  'proxy-address': '[192.0.2.10/32]',
  'source-namespace': '[shop]',
  'dns-server': '[192.0.2.53/32]',
  'target-apps': 'apps.target.example',
  'target-api': 'api.target.example:6443',
  'target-router': '[203.0.113.10/32]',
  'target-namespace': '[shop]',
  without: '[ServiceMonitor]',
};

/** An inventory with every key: what was given as it is, defaults and examples commented out, a password of its own. */
export function inventoryFile(material: Material): string {
  const rows = rowsOf(MANIFEST).filter(([, { group }]) => group !== 'Modes');
  let group = '';
  const lines = rows.flatMap(([key, row]) => {
    const head = row.group === group ? [] : ['', `# ${row.group}`];
    group = row.group;
    const given =
      key === 'password'
        ? (material.password ?? randomBytes(16).toString('hex'))
        : writtenValue(material[key]);
    const isDefault = given === undefined || given === row.default;
    const value = isDefault ? (row.default ?? EXAMPLES[row.name]) : given;
    return [...head, `# ${row.help}`, `${isDefault ? '#' : ''}${row.name}: ${value}`];
  });
  return `# Parameters of spliceway manifest --inventory FILE. It holds a password: keep it where only you read it.\n${lines.join('\n')}\n`;
}

function writtenValue(value: unknown): string | undefined {
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return undefined;
  if (Array.isArray(value)) return `[${value.join(', ')}]`;
  if (typeof value === 'object' && value !== null && 'host' in value && 'port' in value)
    return `${value.host}:${value.port}`;
  return String(value);
}
