import { resolve } from 'node:path';
import { type Finding, lint } from '../lint.js';
import { readInput } from './input-file.js';
import { KINDS } from './object-rules.js';
import { indexBy, type Surroundings } from './subject.js';

/** What is to be printed about files. */
export interface Report {
  /** The findings, for standard output; empty where there are none. */
  readonly findings: string;
  /** How it went, for standard error. */
  readonly said: string;
  /** Exit code: 1 where there are mistakes, or a file that could not be looked at; 0 otherwise. */
  readonly code: 0 | 1;
}

/**
 * Says what `lint` finds in these files.
 *
 * @param paths `-` is standard input
 */
export function reportLint(paths: readonly string[], surroundings: Surroundings): Report {
  const lines: string[] = [];
  const say = (text: string) => lines.push(`spliceway: ${text}\n`);
  let unread = 0;
  const files = withoutRepeats(paths).flatMap((path) => {
    const input = readInput(path);
    const file = path === '-' ? 'standard input' : escaped(path);
    if ('text' in input) return [{ file, text: input.text }];
    unread += 1;
    say(`${file} ${input.problem}`);
    return [];
  });
  const { findings, checked, unknown } = lint(files, surroundings);
  for (const { file, kinds } of unknown) {
    // What a command before a pipe did not print is no manifest without mistakes.
    if (kinds.length === 0) unread += 1;
    const holds =
      kinds.length === 0
        ? 'no object of Kubernetes'
        : `nothing to check, only ${kinds.slice(0, 5).map(escaped).join(', ')}`;
    say(`${file} holds ${holds}: ${Object.keys(KINDS).join(', ')} and squid.conf are checked`);
  }
  const mistakes = findings.filter(({ level }) => level === 'mistake').length;
  if (files.length > 0 && (checked > 0 || findings.length > 0)) say(summary(findings, mistakes, checked));
  return {
    findings: findings.map(written).join(''),
    said: lines.join(''),
    code: mistakes > 0 || unread > 0 ? 1 : 0,
  };
}

/** Each file once, however its path is written. */
function withoutRepeats(paths: readonly string[]): readonly string[] {
  const files = indexBy(paths, (path) => (path === '-' ? path : resolve(path)));
  return [...files.values()].flatMap(([first]) => first ?? []);
}

function written({ file, line, object, level, problem, rule, fix }: Finding): string {
  const advice = level === 'advice' ? 'advice: ' : '';
  const [first = '', ...pasted] = fix.split('\n').map(escaped);
  const lines = [`  fix: ${first}`, ...pasted.map((each) => `       ${each}`)];
  return `${file}:${line}: ${escaped(object)}: ${advice}${escaped(problem)} (${rule})\n${lines.join('\n')}\n`;
}

function summary(findings: readonly Finding[], mistakes: number, checked: number): string {
  const where = `in ${count(checked, 'object')}`;
  if (findings.length === 0) return `nothing found ${where}`;
  const advice = findings.length - mistakes;
  const said = [
    ...(mistakes > 0 ? [count(mistakes, 'mistake')] : []),
    ...(advice > 0 ? [advice === 1 ? '1 piece of advice' : `${advice} pieces of advice`] : []),
  ];
  return `${said.join(' and ')} ${where}`;
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}

/** Names come from the files, and may hold what a terminal obeys. */
function escaped(text: string): string {
  return text
    .slice(0, 2000)
    .replace(
      /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g,
      (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
}
