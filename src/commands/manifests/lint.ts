import { isKnown } from './lint/object-rules.js';
import { RULES, type RuleName } from './lint/rules.js';
import { readSquidFile } from './lint/squid-file.js';
import type { KubeObject, Mistake, Rule, SquidFile, Surroundings, Unreadable } from './lint/subject.js';
import { readYamlFile } from './lint/yaml-file.js';

/** A mistake in a manifest, or in a squid.conf. */
export interface Finding extends Mistake {
  readonly rule: RuleName;
  /** Advice breaks nothing, and leaves the exit code alone. */
  readonly level: Rule['level'];
}

/** A file, or standard input, with what messages call it. */
export interface LintedFile {
  readonly file: string;
  readonly text: string;
}

/** What was found in all files of a call. */
export interface Lint {
  /** By files in their order, then by lines. */
  readonly findings: readonly Finding[];
  /** How many objects and squid.conf there were rules for. */
  readonly checked: number;
  /** What there are no rules for: files in which nothing was found to look at, and the kinds that are in them. */
  readonly unknown: readonly { readonly file: string; readonly kinds: readonly string[] }[];
}

/** Looks for mistakes in files, one by one and together. */
export function lint(files: readonly LintedFile[], surroundings: Surroundings): Lint {
  const objects: KubeObject[] = [];
  const squids: SquidFile[] = [];
  const unreadable: Unreadable[] = [];
  const unknown: { file: string; kinds: readonly string[] }[] = [];
  for (const { file, text } of files) {
    const squid = readSquidFile(file, text);
    if (squid !== undefined) {
      squids.push(squid);
      continue;
    }
    const read = readYamlFile(file, text);
    const known = read.objects.filter(isKnown);
    objects.push(...known);
    unreadable.push(...read.unreadable);
    if (known.length === 0 && read.unreadable.length === 0)
      unknown.push({ file, kinds: [...new Set(read.objects.map(({ kind }) => kind))] });
  }
  const subject = { ...surroundings, objects, squids, unreadable };
  const order = new Map(files.map(({ file }, at) => [file, at]));
  const rows: readonly (readonly [string, Rule])[] = Object.entries(RULES);
  const findings = rows
    .flatMap(([name, { check, level }]) =>
      // A key of the table is the name of a rule.
      check(subject).map((mistake): Finding => ({ ...mistake, level, rule: name as RuleName })),
    )
    .sort((one, other) => (order.get(one.file) ?? 0) - (order.get(other.file) ?? 0) || one.line - other.line);
  return { findings, checked: objects.length + squids.length, unknown };
}
