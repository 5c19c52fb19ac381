import { readFileSync } from 'node:fs';
import t from 'tap';
import { loadConfig } from '../src/config/load.js';
import { SERVE } from '../src/config/tables.js';
import { EXCHANGE_CAUSES } from '../src/relay/delivery.js';
import { RELAY_CAUSES } from '../src/relay/relay.js';
import { metricsTable, optionsTable, type ReadmeTable, reasonsTable } from './fixtures/readme-tables.js';
import { runCli } from './fixtures/run-cli.js';

const README = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');

/** What is wrong with a table of the README, in words; empty where it is right. */
function problemsOf({ row, keys }: ReadmeTable): readonly string[] {
  const lines = README.split('\n').filter((line) => row.test(line));
  const found = lines.map((line) => ({
    key: row.exec(line)?.[1] ?? '',
    second: line
      .split(/(?<!\\)\|/)[2]
      ?.trim()
      .replaceAll('\\|', '|'),
  }));
  const missing = [...keys.keys()].filter((key) => !found.some((each) => each.key === key));
  const twice = found.filter(({ key }, at) => found.findIndex((each) => each.key === key) < at);
  return [
    ...missing.map((key) => `${key} has no row`),
    ...twice.map(({ key }) => `${key} has more than one row`),
    ...found.flatMap(({ key, second }) => {
      if (!keys.has(key)) return [`${key} has a row, but does not exist`];
      const expected = keys.get(key);
      return expected === undefined || expected === second
        ? []
        : [`${key} has ${second} beside it, not ${expected}`];
    }),
  ];
}

for (const table of [optionsTable(), reasonsTable(), metricsTable()]) {
  t.test(`the README has a right row for each of the ${table.name}, and no other`, async (t) => {
    t.ok(table.keys.size > 0);
    if (!t.same(problemsOf(table), []))
      process.stderr.write(
        `\nThe ${table.name} for README.md, to be copied as needed:\n\n${table.markdown}\n`,
      );
  });
}

for (const [what, metric, causes] of [
  ['a tunnel', 'spliceway_tunnel_closes_total', RELAY_CAUSES],
  ['a forwarded request', 'spliceway_forwarded_ends_total', EXCHANGE_CAUSES],
] as const) {
  t.test(`the README explains every cause of the end of ${what}, and no other`, async (t) => {
    const paragraph = README.split('\n\n').find((each) => each.includes(`causes of \`${metric}\``));
    const words = [...(paragraph ?? '').matchAll(/`([^`]+)`/g)].map(([, text = '']) => text);
    const [, ...named] = words.filter((word) => !word.startsWith('--'));
    t.same(named.sort(), [...causes].sort());
  });
}

t.test('the README names every command, and none that does not exist', async (t) => {
  const { stdout } = await runCli(['--help']);
  const commands = [...stdout.matchAll(/^ {2}([a-z]+) {2,}\S/gm)].map(([, name = '']) => name);
  t.ok(commands.length > 0);
  for (const name of commands) t.match(README, new RegExp(`\\b(?:spliceway|npm run) ${name}\\b`), name);
  for (const [, name = ''] of README.matchAll(/\bspliceway ([a-z]+) --/g))
    t.ok(commands.includes(name), name);
});

t.test('what the README shows as a file of options is one', async (t) => {
  const examples = [...README.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, text = '']) => text);
  const files = examples.filter((text) => /^(?:listen|allow):/m.test(text));
  t.ok(files.length > 0);
  for (const [at, text] of files.entries()) {
    const directory = t.testdir({ [`example-${at}.yaml`]: text });
    t.same(loadConfig(SERVE, ['--config', `${directory}/example-${at}.yaml`], {}).warnings, []);
  }
  t.match(README, '--config FILE');
  t.match(README, 'SPLICEWAY_CONFIG');
});
