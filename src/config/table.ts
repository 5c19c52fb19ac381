import type { Parsed } from './parsers.js';

/** How an option is declared: once, for flag, environment variable, file key, help and README. */
export interface OptionRow<T> {
  /** The flag without `--`; also the key in the file, and the variable in upper case with `SPLICEWAY_` before it. */
  readonly name: string;
  /** What stands for the value in the help; undefined for a switch. */
  readonly placeholder?: string;
  /** The default as a user would write it; undefined where {@link help} says what absence means. */
  readonly default?: string;
  /** It must be given: what to write. */
  readonly required?: string;
  /** May be given more than once; each value is parsed by itself. How a variable holds several. */
  readonly repeatable?: 'words' | 'lines';
  /** It says what this one call is to do, and is neither a variable nor a key of the file. */
  readonly flagOnly?: true;
  /** Its value never appears in a message. */
  readonly secret?: true;
  readonly group: (typeof GROUPS)[number];
  readonly help: string;
  readonly parse: (text: string) => Parsed<T>;
}

/** The parts of the help, in order. */
export const GROUPS = [
  'Listening',
  'Access',
  'Requests',
  'Dialling',
  'Tunnels',
  'Limits',
  'Shutting down',
  'Log',
  'Proxy',
  'Source cluster',
  'Target cluster',
  'Migration',
  'Modes',
] as const;

/** Options by their key in the configuration. */
export type OptionRows = Readonly<Record<string, OptionRow<unknown>>>;

/** The options of one command. */
export interface OptionTable<R extends OptionRows = OptionRows> {
  /** As it is called: `spliceway serve`. */
  readonly command: string;
  readonly rows: R;
  /** The flag, without `--`, that names a file of options; absent: `config`. Its variable is that of an option. */
  readonly fileFlag?: string;
  /** It takes words beside its options; absent: every word is an option or the value of one. */
  readonly takesWords?: true;
  /** Its file is another command's: what else stands there is not looked at. */
  readonly sharesFile?: true;
  /**
   * Its file says everything, and holds a password: warn where a variable, which may be there for another command, says
   * something else, and where others may read the file.
   */
  readonly fileIsComplete?: true;
  /** What only several options together tell; most commands share most of them. */
  readonly contradictions: readonly Contradiction<ConfigOf<R>>[];
}

/** A rule over several options, looked at where none of them has a problem of its own. */
export interface Contradiction<C> {
  readonly between: readonly (keyof C)[];
  /** @returns what is wrong, each with the way out */
  readonly find: (config: C) => readonly string[];
}

type ValueOf<R> = R extends { readonly parse: (text: string) => Parsed<infer T> } ? T : never;
type ConfigValue<R> = R extends { readonly repeatable: string }
  ? readonly ValueOf<R>[]
  : R extends { readonly default: string } | { readonly required: string }
    ? ValueOf<R>
    : ValueOf<R> | undefined;

/** Every option's value, durations in milliseconds. */
export type ConfigOf<R extends OptionRows> = { readonly [K in keyof R]: ConfigValue<R[K]> };

/** The options of a table in their order, each with its key. */
export function rowsOf<R extends OptionRows>(
  table: Pick<OptionTable<R>, 'rows'>,
): readonly (readonly [keyof R, OptionRow<unknown>])[] {
  return Object.entries(table.rows); // A key of the object is a key of its type: the tables are literals.
}

/** The flag, without `--`, that names a file of a table's options. */
export function fileFlagOf({ fileFlag = 'config' }: Pick<OptionTable, 'fileFlag'>): string {
  return fileFlag;
}

/** The environment variable of an option. */
export function variableOf(name: string): string {
  return `SPLICEWAY_${name.replaceAll('-', '_').toUpperCase()}`;
}

/** Keeps the literal types of a row, so that the configuration's type follows from the table. */
export function option<const R extends OptionRow<unknown>>(row: R): R {
  return row;
}
