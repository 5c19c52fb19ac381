import { LineCounter, parseAllDocuments, type YAMLParseError } from 'yaml';
import type { KubeObject, Unreadable } from './subject.js';
import { type Flaw, readValue, textAt, type Value, valueAt } from './value.js';

/** What a file of YAML or JSON holds. */
export interface YamlFile {
  /** Its objects of any kind, those in lists as well. */
  readonly objects: readonly KubeObject[];
  readonly unreadable: readonly Unreadable[];
}

/** Reads documents of YAML, or JSON, as kubectl takes and prints them. One that is broken does not keep the others from being read. */
export function readYamlFile(file: string, text: string): YamlFile {
  const unreadable: Unreadable[] = [];
  // Windows editors begin files with a byte order mark, and `cat` puts them behind one another.
  const whole = withoutEllipses(file, text.replace(/^\uFEFF/gm, ''), unreadable);
  const lines = new LineCounter();
  try {
    const documents = parseAllDocuments(whole, {
      lineCounter: lines,
      logLevel: 'silent',
      // Messages of the library quote the line, and there may be a password in it.
      prettyErrors: false,
      // Compares every key with every other one.
      uniqueKeys: false,
    });
    if (!Array.isArray(documents)) return { objects: [], unreadable };
    const objects = documents.flatMap((document): readonly KubeObject[] => {
      const [error] = document.errors;
      if (error !== undefined) {
        if (!/\bkind["']?\s*:/.test(text) && !BEGINS_LIKE_YAML.test(text)) return [];
        unreadable.push({ file, line: lines.linePos(error.pos[0]).line, ...explain(error) });
        return [];
      }
      const flaws: Flaw[] = [];
      const objects = objectsIn(file, readValue(document, lines, flaws));
      // Elsewhere, as in the values of a chart, a repeated key is nobody's business here.
      if (objects.length > 0) unreadable.push(...flaws.map((flaw) => tell(file, flaw)));
      return objects;
    });
    return { objects, unreadable };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const problem = 'it is nested too deeply, or grows too large by its aliases';
    return { objects: [], unreadable: [...unreadable, { file, line: 1, problem, fix: 'write it without' }] };
  }
}

/** With `---`, a key, or a bracket that is none of a template's; before that there may be comments. */
const BEGINS_LIKE_YAML = /^(?:\uFEFF?[ \t]*(?:#.*)?\r?\n)*\uFEFF?(?:---\s|[\w"'-]+:\s|[{[](?![{%[]))/;

/** Takes lines such as `[...]` out where documents leave something out, without moving the others. */
function withoutEllipses(file: string, text: string, unreadable: Unreadable[]): string {
  if (!/\.\.\.|…/.test(text)) return text;
  const lines = text.split('\n');
  const isKey = (line: string | undefined) =>
    line !== undefined && /^[ -]*[^\s#:[{"'][^\s:]*:(?:\s|$)/.test(line);
  const mended = lines.map((line, at) => {
    if (!/^[ \t]+(?:\[\s*(?:\.{3}|…)\s*\]|\.{3}|…)\s*$/.test(line)) return line;
    // At the end of a map it is YAML of its own, and told as a placeholder.
    if (!isKey(lines[at + 1]) || indentOf(lines[at + 1]) < indentOf(line)) return line;
    unreadable.push({
      file,
      line: at + 1,
      problem: `${line.trim()} stands for what somebody left out; before another key it is no YAML, and nothing of the document can be applied`,
      fix: 'delete this line, or write the keys that belong there',
    });
    return '';
  });
  return mended.join('\n');
}

function indentOf(line: string | undefined): number {
  return line?.search(/\S|$/) ?? 0;
}

function objectsIn(file: string, root: Value, kind = textAt(root, 'kind')): readonly KubeObject[] {
  if (kind === undefined) return isKustomization(root) ? objectsIn(file, root, 'Kustomization') : [];
  const apiVersion = textAt(root, 'apiVersion') ?? '';
  const items = valueAt(root, 'items')?.list;
  // An empty one stands for itself: it holds nothing, and is no mistake.
  if (items !== undefined && items.length > 0 && kind.endsWith('List'))
    // What the API itself answers says the kind of its items only in its own.
    return items.flatMap((item) =>
      objectsIn(file, item, textAt(item, 'kind') ?? kind.slice(0, -'List'.length)),
    );
  const name = textAt(root, 'metadata', 'name') ?? '';
  const namespace = textAt(root, 'metadata', 'namespace') ?? '';
  const label = `${kind} ${namespace === '' ? '' : `${namespace}/`}${name === '' ? '(no name)' : name}`;
  const line = root.map?.get('kind')?.line ?? root.line;
  return [{ file, line, apiVersion, kind, name, namespace, label, root }];
}

/** It may leave its kind out. */
function isKustomization(root: Value): boolean {
  return ['resources', 'bases', 'patches', 'components'].some(
    (key) => valueAt(root, key)?.list !== undefined,
  );
}

function tell(file: string, { repeated, line }: Flaw): Unreadable {
  if (repeated === undefined) {
    const problem = 'a * begins a reference to an anchor (&), and there is none of this name';
    return { file, line, problem, fix: "put the value into single quotes: '*…'" };
  }
  const key = KEYS.has(repeated) ? repeated : 'a key';
  return {
    file,
    line,
    problem: `${key} stands twice in the same map; only the last one counts, or the API server refuses both`,
    fix: 'make one of the two',
  };
}

/** Which may be shown: others may be half a URL, or a password. */
const KEYS: ReadonlySet<string> = new Set(
  [
    'apiVersion kind metadata name namespace labels annotations spec status items data podSelector matchLabels',
    'matchExpressions key operator values policyTypes ingress egress from to ports port endPort protocol ipBlock cidr except',
    'namespaceSelector type cidrSelector dnsName nodeSelector version stunnel_tcp_proxy app owner',
  ].flatMap((line) => line.split(' ')),
);

/** In words of ours: those of the library may hold pieces of the file. */
function explain({ code }: YAMLParseError): Pick<Unreadable, 'problem' | 'fix'> {
  const [problem, fix] = EXPLANATIONS[code] ?? [
    'it is not YAML from here on',
    'compare it with the line before: indentation, colons, quotes',
  ];
  return { problem: `${problem}; nothing of the document can be applied`, fix };
}

const EXPLANATIONS: Partial<Record<YAMLParseError['code'], readonly [problem: string, fix: string]>> = {
  BAD_INDENT: [
    'the indentation fits no line above, or what stands above is not closed',
    'indent it like the keys beside it, and close every [ { and quote before',
  ],
  TAB_AS_INDENT: ['a tab indents it', 'write blanks: YAML takes no tabs'],
  MISSING_CHAR: [
    'something is missing: a quote that closes, a comma, or a blank behind a colon',
    'write the quote, the comma or the blank',
  ],
  MULTILINE_IMPLICIT_KEY: [
    'a key without a colon and a blank behind it',
    'write KEY: VALUE, with a blank behind the colon',
  ],
  BLOCK_AS_IMPLICIT_KEY: [
    'a colon and a blank in a value that is not quoted',
    "put the value into single quotes: 'VALUE'",
  ],
  BAD_DQ_ESCAPE: [
    'a backslash in double quotes begins an escape, and there is none like this',
    "put the value into single quotes: 'VALUE'",
  ],
  BAD_SCALAR_START: [
    'a value begins with a character that means something to YAML (@ ` %)',
    "put the value into single quotes: 'VALUE'",
  ],
  UNEXPECTED_TOKEN: [
    'something stands here that cannot follow what is before',
    'put --- between two documents, and close every bracket and quote',
  ],
};
