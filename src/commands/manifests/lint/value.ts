import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  type LineCounter,
  type Node,
  type Range,
} from 'yaml';

/** A value in a manifest, and where it stands. Aliases are resolved. */
export interface Value {
  /** From 1. */
  readonly line: number;
  /** Strings as they are, other scalars as they were written; absent: it is a map, a list or null. */
  readonly text?: string;
  /** The text is one to YAML, too, and no number or boolean. */
  readonly string?: true;
  readonly map?: ReadonlyMap<string, Entry>;
  readonly list?: readonly Value[];
  /** What stands behind a `#` on its line. */
  readonly comment?: string;
}

/** A key of a map with its value. */
export interface Entry {
  readonly line: number;
  readonly value: Value;
}

/** What parsers of YAML let pass, and the API server does not. */
export interface Flaw {
  readonly line: number;
  /** A key that stands in its map for the second time; absent: an alias without an anchor. */
  readonly repeated?: string;
}

const MOST_VALUES = 4_000_000;

/**
 * The content of a document of YAML.
 *
 * @param flaws takes what is wrong all the same
 * @throws RangeError where it is nested too deeply for the stack, or grows beyond bounds by its aliases
 */
export function readValue(document: Document.Parsed, lines: LineCounter, flaws: Flaw[]): Value {
  const lineOf = (range: Range | null | undefined) =>
    range === null || range === undefined ? 1 : lines.linePos(range[0]).line;
  const done = new Map<Node, Value>();
  // With the aliases in it written out, of which a few lines can make more than any memory holds.
  const sizes = new Map<Value, number>();
  const anchors = new Map<string, Node>();
  const read = (node: unknown, line: number): Value => {
    const target = isAlias(node) ? anchors.get(node.source) : node;
    if (target === undefined) flaws.push({ line });
    if (!isMap(target) && !isSeq(target) && !isScalar(target)) return { line };
    const known = done.get(target);
    if (known !== undefined) return known;
    if (target.anchor !== undefined) anchors.set(target.anchor, target);
    const own = isAlias(node) ? line : lineOf(target.range);
    // What an anchor holds is no part of itself yet.
    done.set(target, { line: own });
    const value = convert(target, own);
    const parts = [...(value.list ?? []), ...[...(value.map?.values() ?? [])].map((entry) => entry.value)];
    const size = parts.reduce((sum, part) => sum + (sizes.get(part) ?? 1), 1);
    if (size > MOST_VALUES) throw new RangeError('aliases of aliases');
    sizes.set(value, size);
    done.set(target, value);
    return value;
  };
  const convert = (node: Node, line: number): Value => {
    if (isSeq(node)) return { line, list: node.items.map((item) => read(item, line)) };
    if (!isMap(node)) return isScalar(node) ? { line, ...scalar(node) } : { line };
    const map = new Map<string, Entry>();
    for (const { key, value } of node.items) {
      const name = isScalar(key) ? String(key.value) : '';
      const at = isScalar(key) ? lineOf(key.range) : line;
      if (map.has(name)) flaws.push({ repeated: name, line: at });
      map.set(name, { line: at, value: read(value, at) });
    }
    return { line, map };
  };
  return read(document.contents, 1);
}

function scalar(node: { value: unknown; source?: string; comment?: string | null }): Partial<Value> {
  const comment = node.comment ? { comment: node.comment } : {};
  if (node.value === null || node.value === undefined) return comment;
  return {
    text: typeof node.value === 'string' ? node.value : (node.source ?? String(node.value)),
    ...(typeof node.value === 'string' ? { string: true } : {}),
    ...comment,
  };
}

/** The entry at the end of these keys, or undefined. */
export function entryAt(value: Value | undefined, ...keys: readonly string[]): Entry | undefined {
  let entry: Entry | undefined;
  let at = value;
  for (const key of keys) {
    entry = at?.map?.get(key);
    at = entry?.value;
  }
  return entry;
}

/** The value at the end of these keys, or undefined. */
export function valueAt(value: Value | undefined, ...keys: readonly string[]): Value | undefined {
  return entryAt(value, ...keys)?.value;
}

/** The scalar at the end of these keys, or undefined. */
export function textAt(value: Value | undefined, ...keys: readonly string[]): string | undefined {
  return valueAt(value, ...keys)?.text;
}

/** The items of the list at the end of these keys; none where there is no list. */
export function listAt(value: Value | undefined, ...keys: readonly string[]): readonly Value[] {
  return valueAt(value, ...keys)?.list ?? [];
}

/** Whether two values say the same, wherever they stand. */
export function sameValue(one: Value | undefined, other: Value | undefined): boolean {
  if (one === undefined || other === undefined) return one === other;
  if (one.text !== other.text) return false;
  if (one.list?.length !== other.list?.length || one.map?.size !== other.map?.size) return false;
  return (
    (one.list ?? []).every((item, at) => sameValue(item, other.list?.[at])) &&
    [...(one.map ?? [])].every(([key, { value }]) => sameValue(value, other.map?.get(key)?.value))
  );
}

/** A value that a template engine or `envsubst` fills in later: nothing can be said of it. */
export function isTemplate(text: string): boolean {
  return /\$\{|\$\(|\{\{/.test(text);
}
