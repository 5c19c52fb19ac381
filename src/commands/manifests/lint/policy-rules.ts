import {
  allowsEverything,
  type Direction,
  isAmongMigrationPods,
  isForMigration,
  list,
  migrationPods,
  networkPolicies,
  type Policy,
  policiesOf,
  selects,
  typesOf,
} from './policies.js';
import { groupBy, type Mistake, mistakeIn, type Subject } from './subject.js';
import { entryAt, listAt, valueAt } from './value.js';

const DIRECTIONS: readonly Direction[] = ['ingress', 'egress'];

/** Selectors that were meant for the pods of a migration, and miss some of them. */
export function selectorMisses(subject: Subject): readonly Mistake[] {
  return DIRECTIONS.flatMap((direction) =>
    groupBy(
      policiesOf(subject, direction).filter(({ byDefault }) => !byDefault),
      ({ object }) => object.namespace,
    ).flatMap((policies) => {
      const first = policies.find(({ selector }) => isForMigration(selector));
      if (first === undefined) return [];
      const missed = migrationPods(subject, direction).filter(
        ({ labels }) => !policies.some(({ selector }) => selects(selector, labels)),
      );
      if (missed.length === 0) return [];
      const apps = [...new Set(migrationPods(subject, direction).map(({ labels }) => labels.app ?? ''))];
      const release =
        subject.mtc === undefined ? ' (say which release it is with --mtc, if only one matters)' : '';
      const said = {
        problem: `its podSelector misses ${list(missed.map(({ description }) => description))}`,
        fix: `select by app alone${release}:\npodSelector:\n  matchExpressions:\n  - key: app\n    operator: In\n    values: [${apps.join(', ')}]`,
      };
      return [mistakeIn(first.object, entryAt(first.object.root, 'spec', 'podSelector'), said)];
    }),
  );
}

/** Policies for the pods of a migration whose rules are for a direction that they are not about. */
export function rulesWithoutType(subject: Subject): readonly Mistake[] {
  return networkPolicies(subject)
    .filter(({ root }) => isForMigration(valueAt(root, 'spec', 'podSelector')))
    .flatMap((object) =>
      DIRECTIONS.flatMap((direction) => {
        const rules = entryAt(object.root, 'spec', direction);
        if (rules === undefined || typesOf(object).includes(direction)) return [];
        const type = direction === 'ingress' ? 'Ingress' : 'Egress';
        const types = `policyTypes:\n- ${type}`;
        return [
          mistakeIn(object, rules, {
            problem: `its ${direction} rules have no effect: ${type} is not in policyTypes`,
            fix: `write the direction that it is about:\n${types}`,
          }),
        ];
      }),
    );
}

/** Policies for the pods of a migration that take everything from them. */
export function allowsNothing(subject: Subject): readonly Mistake[] {
  return DIRECTIONS.flatMap((direction) =>
    groupBy(policiesOf(subject, direction), ({ object }) => object.namespace).flatMap((policies) =>
      policies
        .filter(({ selector }) => isForMigration(selector))
        .filter((policy) => !policies.some((other) => mayOpenFor(subject, other, policy, direction)))
        .map(({ object, rules, byDefault }) => {
          if (byDefault) return mistakeIn(object, entryAt(object.root, 'spec', 'egress'), WITHOUT_TYPES);
          return mistakeIn(
            object,
            rules ?? entryAt(object.root, 'spec', 'policyTypes') ?? entryAt(object.root, 'spec'),
            {
              problem: `it has no ${direction} rule, which forbids these pods all ${direction === 'egress' ? 'traffic to elsewhere' : 'traffic from elsewhere'}`,
              fix: `write the rules, which spliceway manifest ${direction === 'egress' ? 'source' : 'target'} prints; a rule that allows everything is\n${direction}:\n- {}`,
            },
          );
        }),
    ),
  );
}

const WITHOUT_TYPES = {
  problem:
    'without policyTypes it is about ingress as well, and has no ingress rule: nobody can connect to these pods any more',
  fix: 'write\npolicyTypes:\n- Egress',
};

/** Whether another policy has rules for some of the pods that a policy is for. */
export function mayOpenFor(subject: Subject, other: Policy, policy: Policy, direction: Direction): boolean {
  if ((other.rules?.list ?? []).length === 0) return false;
  if (other === policy) return true;
  return migrationPods({ ...subject, mtc: undefined }, direction).some(
    ({ labels }) => selects(policy.selector, labels) && selects(other.selector, labels),
  );
}

/** Rules for the pods of a migration that open more than it needs. */
export function opensEverything(subject: Subject): readonly Mistake[] {
  return DIRECTIONS.flatMap((direction) =>
    policiesOf(subject, direction)
      .filter(({ selector }) => isForMigration(selector))
      .flatMap(({ object }) =>
        listAt(object.root, 'spec', direction)
          .filter(allowsEverything)
          .map((rule) =>
            mistakeIn(object, rule, {
              problem:
                direction === 'egress'
                  ? 'it lets these pods connect to everywhere; they need the proxy and DNS'
                  : 'it lets everybody connect to these pods; the router alone has to',
              fix: `spliceway manifest ${direction === 'egress' ? 'source --proxy HOST:PORT' : 'target'} --source-namespace ${object.namespace || 'NAMESPACE'} prints one for what is needed`,
            }),
          ),
      ),
  );
}

/** Egress policies where volumes only arrive, ingress policies where they only leave. */
export function wrongSide(subject: Subject): readonly Mistake[] {
  const { sourceNamespaces, targetNamespaces } = subject;
  const only = (some: readonly string[], others: readonly string[]) =>
    some.filter((name) => !others.includes(name));
  const sources = only(sourceNamespaces, targetNamespaces);
  const targets = only(targetNamespaces, sourceNamespaces);
  return DIRECTIONS.flatMap((direction) =>
    policiesOf(subject, direction)
      .filter(
        ({ selector, object, rules, byDefault }) =>
          isForMigration(selector) &&
          !byDefault &&
          targetNamespaces.length > 0 &&
          !rules?.list?.some((rule) => isAmongMigrationPods(rule, subject)) &&
          (direction === 'egress' ? targets : sources).includes(object.namespace),
      )
      .map(({ object }) =>
        mistakeIn(object, entryAt(object.root, 'spec', direction), {
          problem:
            direction === 'egress'
              ? 'it is about connections that nobody makes: pods of the destination only answer'
              : 'it is about connections that nobody makes: pods of the source only connect to others',
          fix: `leave it out; ${direction} rules belong into the namespaces of the ${direction === 'egress' ? 'source' : 'destination'}`,
        }),
      ),
  );
}
