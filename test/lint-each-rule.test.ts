import t from 'tap';
import { RULES } from '../src/commands/manifests/lint/rules.js';
import { found } from './fixtures/lint.js';
import { FIREWALL_EXAMPLES } from './fixtures/lint-firewalls.js';
import { NAMESPACE_EXAMPLES } from './fixtures/lint-namespaces.js';
import { OTHER_EXAMPLES } from './fixtures/lint-others.js';
import { POLICY_EXAMPLES } from './fixtures/lint-policies.js';
import { SHAPE_EXAMPLES } from './fixtures/lint-shapes.js';

const EXAMPLES = [
  ...POLICY_EXAMPLES,
  ...FIREWALL_EXAMPLES,
  ...OTHER_EXAMPLES,
  ...SHAPE_EXAMPLES,
  ...NAMESPACE_EXAMPLES,
];

for (const { rule, about, bad, lines, good, given } of EXAMPLES) {
  t.test(`${rule}: ${about}`, async (t) => {
    t.same(
      found(bad, given),
      lines.map((line) => `${line} ${rule}`),
      'the mistake',
    );
    t.same(found(good, given), [], 'the mended one');
  });
}

t.test('there is an example of every rule', async (t) => {
  t.same([...new Set(EXAMPLES.map(({ rule }) => rule))].sort(), Object.keys(RULES).sort());
});
