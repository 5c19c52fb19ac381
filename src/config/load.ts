import { statSync } from 'node:fs';
import { type Given, readConfigFile, readFlags, readVariables, type Source } from './sources.js';
import { type ConfigOf, type OptionRows, type OptionTable, rowsOf, variableOf } from './table.js';

/** The options hold mistakes: all of them. The command line exits 64 (`EX_USAGE` of sysexits(3)). */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    const count = problems.length === 1 ? 'one problem' : `${problems.length} problems`;
    super(`${count} with the options:\n${problems.map((problem) => `  ${problem}\n`).join('')}`);
    this.problems = problems;
  }
}

/** A configuration, and what is odd about it without being wrong. */
export interface Loaded<R extends OptionRows> {
  readonly config: ConfigOf<R>;
  /** What stood beside the options, where the table takes words. */
  readonly words: readonly string[];
  /** Sentences for the log; none holds a secret. */
  readonly warnings: readonly string[];
}

/**
 * Reads flags over environment over file (`--config FILE` or `SPLICEWAY_CONFIG`) over defaults. What a stronger source gives replaces
 * what a weaker one gives, lists included.
 *
 * @param table the options of the command
 * @param argv without the command
 * @throws ConfigError with every problem of every source
 */
export function loadConfig<R extends OptionRows>(
  table: OptionTable<R>,
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Loaded<R> {
  const problems: string[] = [];
  const warnings: string[] = [];
  const flags = readFlags(table, argv, problems);
  const variables = readVariables(table, env, warnings);
  const path = flags.configFile ?? variables.configFile;
  const file: Source<R> = path === undefined ? {} : readConfigFile(table, path, problems);
  const values: Partial<Record<keyof R, unknown>> = {};
  const broken = new Set<keyof R>();
  for (const [key, row] of rowsOf(table)) {
    const byDefault = row.default === undefined ? [] : [{ text: row.default, where: 'default' }];
    const given = flags.source[key] ?? variables.source[key] ?? file[key] ?? byDefault;
    if (given.length === 0 && row.required !== undefined) {
      broken.add(key);
      problems.push(`--${row.name} is missing: ${row.required}`);
    }
    const parsed = given.flatMap(({ text, where }) => {
      const { value, problem } = row.parse(text);
      if (problem === undefined) return [value];
      broken.add(key);
      problems.push(`${where}${row.secret ? '' : ` ${JSON.stringify(text)}`} ${problem}`);
      return [];
    });
    values[key] = row.repeatable === undefined ? parsed.at(-1) : parsed;
  }
  const config = values as ConfigOf<R>; // The loop gave every key what its row parses to, or it is broken.
  for (const { between, find } of table.contradictions)
    if (!between.some((key) => broken.has(key))) problems.push(...find(config));
  if (problems.length > 0) throw new ConfigError(problems);
  if (path !== undefined && table.fileIsComplete)
    warnings.push(...describeFile({ table, path, file, flags: flags.source, variables: variables.source }));
  if (flags.source.user !== undefined || flags.source.password !== undefined) {
    warnings.push(
      'credentials on the command line are visible to everybody on this machine (ps); use SPLICEWAY_USERNAME and SPLICEWAY_PASSWORD',
    );
  }
  if (flags.source.parent?.some(({ text }) => text.includes('@')))
    warnings.push(
      'the credentials in --parent are visible to everybody on this machine (ps); use SPLICEWAY_PARENT',
    );
  return { config, words: flags.words, warnings };
}

/** What is odd about a file that is meant to say everything. */
function describeFile<R extends OptionRows>(options: {
  readonly table: OptionTable<R>;
  readonly path: string;
  readonly file: Source<R>;
  readonly flags: Source<R>;
  readonly variables: Source<R>;
}): readonly string[] {
  const { table, path, file, flags, variables } = options;
  const textOf = (given: readonly Given[] | undefined) => given?.map(({ text }) => text).join('\n');
  const overridden = rowsOf(table).flatMap(([key, { name }]) => {
    const said = [flags[key], variables[key], file[key]].map(textOf);
    const [flag, variable, inFile] = said;
    if (flag !== undefined || variable === undefined || inFile === undefined || variable === inFile)
      return [];
    return [`the variable ${variableOf(name)} wins over ${name} in ${path}: unset it, or take the key out`];
  });
  const isOpen = file.password !== undefined && isReadableByOthers(path);
  return [
    ...overridden,
    ...(isOpen ? [`others may read ${path}, which holds a password: chmod 600 ${path}`] : []),
  ];
}

/** Pipes, as shells make them of other programs' output, are nobody else's. */
function isReadableByOthers(path: string): boolean {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat?.isFile() === true && (stat.mode & 0o044) !== 0;
}
