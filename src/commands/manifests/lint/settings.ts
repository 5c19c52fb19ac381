import leven from 'leven';
import type { KubeObject } from './subject.js';
import { type Entry, type Value, valueAt } from './value.js';

/** Where a MigrationController says what `stunnel_tcp_proxy` is to be. */
export interface Settings {
  /** Where the operator reads it, under the documented name or in camel case. */
  readonly set: readonly (Entry & { readonly key: string })[];
  /** Under a name that is almost it, or where nobody reads it. */
  readonly astray: readonly (Entry & { readonly key: string; readonly where: string })[];
}

/** The documented name. */
export const SETTING = 'stunnel_tcp_proxy';

/**
 * Finds the setting, wherever it is.
 *
 * The operator is an Ansible operator whose watches.yaml does not turn snakeCaseParameters off, so that keys in camel
 * case arrive in snake case: https://sdk.operatorframework.io/docs/building-operators/ansible/reference/watches
 */
export function readSettings({ root }: KubeObject): Settings {
  const found = [...entriesOf(root, '')].filter(({ key }) => isAlmost(key));
  const reads = ({ key, where }: { key: string; where: string }) =>
    where === 'spec' && snakeCase(key) === SETTING;
  return { set: found.filter(reads), astray: found.filter((entry) => !reads(entry)) };
}

/** `spec` that is no map, because a blank is missing behind the colon of what is in it. */
export function fusedSpec({ root }: KubeObject): Value | undefined {
  const spec = valueAt(root, 'spec');
  return spec?.text !== undefined && new RegExp(`^${SETTING}:\\S`).test(spec.text) ? spec : undefined;
}

function* entriesOf(value: Value, where: string): Generator<Entry & { key: string; where: string }> {
  for (const [key, entry] of value.map ?? []) {
    // What the API server keeps beside the object is no setting, annotations hold whole manifests, and status repeats.
    if (where === '' && key === 'status') continue;
    if (where === 'metadata' && key === 'managedFields') continue;
    yield { ...entry, key, where };
    // A key may be half a URL by mistake, and these are shown.
    const segment = /^[\w-]+$/.test(key) ? key : '…';
    yield* entriesOf(entry.value, where === '' ? segment : `${where}.${segment}`);
  }
}

function snakeCase(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** A few letters wrong, or other signs between the words. Only letters and signs: a key may be half a URL by mistake. */
function isAlmost(key: string): boolean {
  if (!/^[A-Za-z_.-]{10,30}$/.test(key)) return false;
  const bare = key.replace(/[_.-]/g, '').toLowerCase();
  return leven(bare, SETTING.replaceAll('_', '')) <= 3;
}
