import type { Metric, Trial } from './measure.js';
import type { Results } from './results.js';
import { judge, type Verdict } from './targets.js';

/** Those that everybody is compared with. */
const BASES = ['haproxy', 'squid'] as const;

/** What the tables are about. */
export interface Report {
  readonly results: Results;
  readonly trials: readonly Trial[];
  /** Names, in the order of the rows. */
  readonly contenders: readonly string[];
  /** Sentences about machine and run. */
  readonly facts: readonly string[];
}

/** The report in Markdown: a table for each trial (median, least–most, ratios to the medians of HAProxy and Squid), and the targets. */
export function table(report: Report): string {
  const sections = report.trials.map((trial) => `## ${trial.title}\n\n${trialTable(report, trial)}`);
  const failures = report.results.failures.map(
    ({ round, trial, contender, error }) => `- round ${round}, ${trial}, ${contender}: ${error}`,
  );
  return [
    report.facts.map((fact) => `- ${fact}`).join('\n'),
    'Medians of all rounds, in brackets least–most; ÷ is the median divided by that of HAProxy and of Squid.',
    ...sections,
    ...(report.contenders.includes('splice')
      ? [`## Targets of \`splice\`\n\n${targetTable(report.results)}`]
      : []),
    ...(failures.length === 0 ? [] : [`## FAILED\n\n${failures.join('\n')}`]),
    '',
  ].join('\n\n');
}

function trialTable({ results, contenders }: Report, trial: Trial): string {
  const bases = BASES.filter((base) => contenders.includes(base));
  const columns = trial.metrics.flatMap((metric) => [
    `${metric.title}${metric.unit === '' ? '' : ` (${metric.unit})`}`,
    ...(metric.compared ? bases : []).map((base) => `÷ ${base}`),
  ]);
  const rows = contenders
    .filter((contender) => contender !== 'direct' || trial.direct)
    .map((contender) => [
      contender,
      ...trial.metrics.flatMap((metric) => [
        cell(report(contender, metric)),
        ...(metric.compared ? bases : []).map((base) => {
          const own = { trial: trial.name, key: metric.key, contender };
          return number(results.ratio(own, { ...own, contender: base }), 2);
        }),
      ]),
    ]);
  return markdown(['', ...columns], rows);

  function report(contender: string, metric: Metric) {
    return { summary: results.summary(trial.name, contender, metric.key), digits: metric.digits };
  }
}

function cell({ summary, digits }: { summary: ReturnType<Results['summary']>; digits: number }): string {
  if (summary === undefined) return '–';
  const median = number(summary.median, digits);
  return summary.rounds === 1
    ? median
    : `${median} (${number(summary.least, digits)}–${number(summary.most, digits)})`;
}

function targetTable(results: Results): string {
  const rows = judge(results).map((verdict) => {
    const { target, value } = verdict;
    const unit = target.than === undefined ? (target.unit ?? '') : `× ${target.than}`;
    return [
      target.title,
      `${target.bound} ${target.limit} ${unit}`.trim(),
      value === undefined ? '–' : `${number(value, 2)} ${unit}`.trim(),
      outcome(verdict),
    ];
  });
  return markdown(['', 'target', 'measured', ''], rows);
}

function outcome({ target: { aim, bound }, value, reached }: Verdict): string {
  if (value === undefined || reached === undefined) return 'not measured';
  if (!reached) return '**missed**';
  const aimed = aim !== undefined && (bound === 'at most' ? value <= aim : value >= aim);
  return aimed ? `reached, and the aim of ${aim}` : 'reached';
}

function number(value: number | undefined, digits: number): string {
  return value === undefined ? '–' : value.toFixed(digits);
}

/** A table whose columns stand straight in a terminal, too. */
function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0), 3),
  );
  const line = (cells: readonly string[]) =>
    `| ${cells.map((text, column) => (column === 0 ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0))).join(' | ')} |`;
  const rule = `| ${widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`;
  return [line(head), rule, ...rows.map(line)].join('\n');
}
