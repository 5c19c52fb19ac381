import { readFileSync } from 'node:fs';
import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { nearest } from './nearest.js';
import {
  fileFlagOf,
  type OptionRow,
  type OptionRows,
  type OptionTable,
  rowsOf,
  variableOf,
} from './table.js';
import { TABLES } from './tables.js';

/** A text and where it was written, for messages. */
export interface Given {
  readonly text: string;
  readonly where: string;
}

/** Values by option, as they were written. */
export type Source<R extends OptionRows> = Partial<Record<keyof R, readonly Given[]>>;

/**
 * Reads the command line. A word that is no option is counted and never shown: it may be a password that went astray.
 *
 * @param problems what is wrong is added here
 */
export function readFlags<R extends OptionRows>(
  table: OptionTable<R>,
  argv: readonly string[],
  problems: string[],
): {
  readonly source: Source<R>;
  readonly configFile: string | undefined;
  /** What is neither an option nor the value of one, where the table takes it. */
  readonly words: readonly string[];
} {
  const source: Partial<Record<keyof R, Given[]>> = {};
  const configFiles: string[] = [];
  const words: string[] = [];
  const fileFlag = `--${fileFlagOf(table)}`;
  for (let at = 0; at < argv.length; at += 1) {
    const word = argv[at] ?? '';
    const { flag, attached } = splitWord(word);
    if (flag === undefined && table.takesWords && !word.startsWith('-')) {
      words.push(word);
      continue;
    }
    if (flag === undefined) {
      // Shown only where it is all but the name of an option, and so no password.
      const hint = didYouMean(table, word, (each) => `--${each}`);
      problems.push(
        hint === '' || !word.startsWith('-')
          ? `argument ${at + 1} is not an option; options begin with --`
          : `${word} is not an option${hint}`,
      );
      continue;
    }
    const name = flag.slice('--'.length);
    const [key, row] = rowsOf(table).find(([, candidate]) => candidate.name === name) ?? [];
    const known = row !== undefined || flag === fileFlag;
    const shape = row ?? elsewhere(name)?.row;
    const isSwitch = shape !== undefined && shape.placeholder === undefined;
    const next = argv[at + 1];
    const takesNext = !isSwitch && attached === undefined && next !== undefined && !next.startsWith('--');
    // What follows an unknown flag is most likely its value, and no second problem.
    if (takesNext) at += 1;
    const text = attached ?? (takesNext ? next : isSwitch ? 'true' : undefined);
    if (!known) problems.push(notAnOption(table, name, { shown: flag, write: (each) => `--${each}` }));
    else if (text === undefined)
      problems.push(`${flag} needs a value: ${flag} ${row?.placeholder ?? 'FILE'}`);
    else if (key === undefined) configFiles.push(text);
    else source[key] = [...(source[key] ?? []), { text, where: flag }];
  }
  for (const [key, row] of rowsOf(table)) {
    if (row.repeatable === undefined && (source[key]?.length ?? 0) > 1)
      problems.push(`--${row.name} is given more than once`);
  }
  if (configFiles.length > 1) problems.push(`${fileFlag} is given more than once`);
  return { source, configFile: configFiles.at(-1), words };
}

/**
 * Reads the `SPLICEWAY_*` variables. An empty one counts as unset: it is what a template leaves where nothing was set.
 *
 * @param warnings variables that are ignored are added here, by name
 */
export function readVariables<R extends OptionRows>(
  table: OptionTable<R>,
  env: Readonly<Record<string, string | undefined>>,
  warnings: string[],
): { readonly source: Source<R>; readonly configFile: string | undefined } {
  const source: Partial<Record<keyof R, readonly Given[]>> = {};
  for (const [key, row] of rowsOf(table)) {
    const where = variableOf(row.name);
    const text = env[where] ?? '';
    const parts =
      row.repeatable === undefined ? [text] : text.split(row.repeatable === 'words' ? /\s+/ : /\n/);
    const given = parts.filter((part) => part.trim() !== '').map((part) => ({ text: part, where }));
    if (given.length === 0) continue;
    if (row.flagOnly)
      warnings.push(`the variable ${where} is ignored: give --${row.name} on the command line`);
    else source[key] = given;
  }
  // All commands may be run with the same variables.
  const known = new Set(
    TABLES.flatMap((each) => [
      variableOf(fileFlagOf(each)),
      ...Object.values(each.rows).map((row) => variableOf(row.name)),
    ]),
  );
  for (const name of Object.keys(env)) {
    if (name.startsWith('SPLICEWAY_') && !known.has(name) && !SERVICE_LINK.test(name)) {
      warnings.push(
        `the variable ${name} is not one of spliceway's and is ignored${didYouMean(table, name, variableOf)}`,
      );
    }
  }
  const configFile = env[variableOf(fileFlagOf(table))];
  return { source, configFile: configFile === '' ? undefined : configFile };
}

/** What Kubernetes puts into every pod beside a Service named spliceway; none of it is meant for us. */
const SERVICE_LINK = /^SPLICEWAY(?:_[A-Z0-9]+)*_(?:SERVICE_HOST|SERVICE_PORT(?:_.*)?|PORT(?:_.*)?)$/;

/**
 * Reads a YAML file keyed like the flags without `--`. An empty file, and an empty list, give nothing.
 *
 * @param problems what is wrong is added here, with the line, and without the text: it may be a password
 */
export function readConfigFile<R extends OptionRows>(
  table: OptionTable<R>,
  path: string,
  problems: string[],
): Source<R> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    problems.push(unreadable(table, path, error));
    return {};
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const lineOf = (offset: number | undefined) => `${path}:${lines.linePos(offset ?? 0).line}`;
  for (const { pos, message } of document.errors)
    problems.push(`${lineOf(pos[0])} is not YAML: ${withoutText(message)}; ${QUOTING}`);
  const isEmpty =
    document.contents === null || (isScalar(document.contents) && document.contents.value === null);
  if (document.errors.length > 0 || isEmpty) return {};
  if (!isMap(document.contents)) {
    problems.push(`${path} is not made of "option: value" lines`);
    return {};
  }
  const source: Partial<Record<keyof R, readonly Given[]>> = {};
  for (const { key, value } of document.contents.items) {
    const name = isScalar(key) ? String(key.value) : '';
    const line = lineOf(isScalar(key) ? key.range?.[0] : undefined);
    const where = `${line} ${name}`;
    const [optionKey, row] = rowsOf(table).find(([, candidate]) => candidate.name === name) ?? [];
    const nodes = isSeq(value) ? value.items : [value];
    const texts = nodes.map(textOf);
    if (optionKey === undefined || row === undefined) {
      if (table.sharesFile) continue;
      // A key that does not look like one may be a password in the wrong place.
      const shown = /^[A-Za-z-]{1,40}$/.test(name) ? JSON.stringify(name) : 'the key';
      problems.push(`${line} ${notAnOption(table, name, { shown, write: (each) => each })}`);
    } else if (row.flagOnly) {
      problems.push(`${where} cannot stand in a file: give --${name} on the command line`);
    } else if (texts.includes(undefined) || (isSeq(value) && row.repeatable === undefined)) {
      const expected = row.repeatable === undefined ? 'a single value' : 'a value or a list of values';
      problems.push(`${where} must be ${expected}; ${QUOTING}`);
    } else if (texts.length === 0 && name === 'allow') {
      problems.push(
        `${where} is empty, which allows nothing: leave it out to allow every host, or list rules`,
      );
    } else if (texts.length > 0) {
      source[optionKey] = texts.map((item) => ({ text: item ?? '', where }));
    }
  }
  return source;
}

function unreadable(
  table: Pick<OptionTable, 'command' | 'fileIsComplete'>,
  path: string,
  error: unknown,
): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'EISDIR') return `${path} is a directory: give a file in it`;
  if (code === 'ENOENT')
    return `${path} does not exist${table.fileIsComplete ? `; ${table.command} inventory writes one` : ''}`;
  return `${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`;
}

const QUOTING = 'values that begin with a special character, such as * or [, need quotes';

/** The text of a plain or quoted value as it was written: 0x10, 1_000 or 1e3 is for the option's own parser to refuse. */
function textOf(node: unknown): string | undefined {
  if (!isScalar(node) || node.value === null) return undefined;
  const { anchor, tag }: Node = node;
  if (anchor !== undefined || tag !== undefined) return undefined;
  return node.type === 'PLAIN' ? (node.source ?? '') : String(node.value);
}

/** A message of the YAML parser up to where it begins to quote the file. */
function withoutText(message: string): string {
  return message.replace(/(?<=\S)(?:[:;] | \\).*$/s, '');
}

function splitWord(word: string): { readonly flag: string | undefined; readonly attached?: string } {
  const match = /^(--[^-=][^=]*)(?:=(.*))?$/s.exec(word);
  return { flag: match?.[1], ...(match?.[2] === undefined ? {} : { attached: match[2] }) };
}

/** What to say of a name that is no option of this command. */
function notAnOption(
  table: Pick<OptionTable, 'command' | 'rows' | 'fileFlag'>,
  name: string,
  { shown, write }: { readonly shown: string; readonly write: (name: string) => string },
): string {
  const owner = elsewhere(name);
  return owner === undefined
    ? `${shown} is not an option${didYouMean(table, write(name), write)}`
    : `${shown} is an option of ${owner.command}, not of ${table.command}`;
}

/** The option of any command that has this name. */
function elsewhere(name: string): { readonly command: string; readonly row: OptionRow<unknown> } | undefined {
  for (const { command, rows } of TABLES) {
    const row = Object.values<OptionRow<unknown>>(rows).find((candidate) => candidate.name === name);
    if (row !== undefined) return { command, row };
  }
  return undefined;
}

/** The name that is spelled most like this one, as `write` writes it, if there is one that is meant in all likelihood. */
function didYouMean(
  table: Pick<OptionTable, 'rows' | 'fileFlag'>,
  given: string,
  write: (name: string) => string,
): string {
  const meant = nearest(
    given,
    [fileFlagOf(table), ...Object.values(table.rows).map(({ name }) => name)],
    write,
  );
  return meant === undefined ? '' : `; did you mean ${write(meant)}?`;
}
