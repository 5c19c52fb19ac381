import { isConnect, isOtherMethod, mistakeAt, NOT_FOR_PODS, named, whole } from './squid-access.js';
import type { Mistake, SquidDirective, Subject } from './subject.js';

/** A tunnel that Squid opens with a certificate of its own, because nothing before it says to let it through. */
export function bumpsTunnels(subject: Subject): readonly Mistake[] {
  return subject.squids.flatMap((squid) => {
    const steps = named(squid, 'ssl_bump');
    const bump = steps.find(isBumpAll);
    if (bump === undefined || steps.some(({ words: [action = ''] }) => SPARES.test(action))) return [];
    return [
      mistakeAt(squid, bump, {
        problem: 'it opens every tunnel with a certificate of its own, and stunnel needs its TLS untouched',
        fix: `write before it:\nacl migration ssl::server_name .apps.TARGET\nssl_bump splice migration`,
      }),
    ];
  });
}

/** `ssl_bump splice` where it is never reached. */
export function spliceAfterBump(subject: Subject): readonly Mistake[] {
  return subject.squids.flatMap((squid) => {
    const steps = named(squid, 'ssl_bump');
    const at = steps.findIndex(isBumpAll);
    const bump = steps[at];
    if (bump === undefined) return [];
    return steps
      .slice(at + 1)
      .filter(({ words: [action = ''] }) => SPARES.test(action))
      .map((splice) =>
        mistakeAt(squid, splice, {
          problem: `it never applies: ssl_bump ${bump.words.join(' ')} in line ${bump.line} comes first and fits everything`,
          fix: `move it before line ${bump.line}`,
        }),
      );
  });
}

const SPARES = /^(?:splice|none)$/;

function isBumpAll({ words: [action = '', ...acls] }: SquidDirective): boolean {
  const final = /^(?:bump|server-first|client-first|terminate)$/.test(action);
  return final && acls.every((acl) => acl === 'all');
}

/** A list of names that holds one route, or a domain without the names below it. */
export function routeNames(subject: Subject): readonly Mistake[] {
  return subject.squids.flatMap((squid) => {
    const spliced = new Set(
      named(squid, 'ssl_bump').flatMap(({ words: [action = '', ...acls] }) =>
        SPARES.test(action) ? acls : [],
      ),
    );
    const lists = named(squid, 'acl').filter(({ words: [, type = ''] }) =>
      /^(?:dstdomain|ssl::server_name)$/.test(type),
    );
    const routes = lists.flatMap(namesIn).filter((name) => ROUTE.test(name));
    return lists.flatMap((list) => {
      const about = spliced.has(list.words[0] ?? '');
      const wrong = namesIn(list).filter(
        (name) => !name.startsWith('.') && (ROUTE.test(name) ? routes.length === 1 : /^apps\./.test(name)),
      );
      const unfilled = about ? namesIn(list).filter(isRoutePlaceholder) : [];
      const starred = namesIn(list).filter((name) => name.startsWith('*.'));
      const stars = starred.map((name) =>
        mistakeAt(squid, list, {
          problem: 'Squid knows no * in names: this fits none',
          fix: `write the domain, with the dot: acl ${list.words.slice(0, 2).join(' ')} ${name.slice(1)}`,
        }),
      );
      const others = [...wrong, ...unfilled].map((name) => {
        const domain =
          /^(?:dvm|dvm-block)-[^.]+(\..+)$/.exec(name)?.[1] ??
          (/^apps\./.test(name) ? `.${name}` : '.apps.TARGET');
        const route = ROUTE.test(name) || !/^apps\./.test(name);
        return mistakeAt(squid, list, {
          problem: route
            ? 'it names one route, and there is one in every namespace, and another one for block volumes (dvm-block-…)'
            : 'without a dot before it, it is that name alone, and no route below it',
          fix: `name the domain, with the dot: acl ${list.words.slice(0, 2).join(' ')} ${domain}`,
        });
      });
      return [...stars, ...others];
    });
  });
}

/** Told with what belongs there, and not as a placeholder. */
export function isRoutePlaceholder(text: string): boolean {
  return /^<[^<>]*route[^<>]*>$/i.test(text);
}

const ROUTE = /^dvm(?:-block)?-[^.]+\./;

function namesIn({ words }: SquidDirective): readonly string[] {
  return words.slice(2).filter((word) => !word.startsWith('-') && !word.startsWith('"'));
}

/** No `http_access` line that a CONNECT could get through. */
export function connectNotAllowed(subject: Subject): readonly Mistake[] {
  return whole(subject).flatMap((squid) => {
    const rules = named(squid, 'http_access');
    const end = rules.findIndex(
      ({ words: [action, ...acls] }) =>
        action === 'deny' && acls.every((acl) => acl === 'all' || isConnect(squid, acl)),
    );
    const before = end === -1 ? rules : rules.slice(0, end);
    const allowing = before.some(
      ({ words: [action, ...acls] }) =>
        action === 'allow' && !acls.some((acl) => NOT_FOR_PODS.test(acl) || isOtherMethod(squid, acl)),
    );
    if (allowing) return [];
    const at = rules[end] ?? rules.at(-1) ?? named(squid, 'http_port')[0] ?? squid.directives[0];
    return at === undefined
      ? []
      : [
          mistakeAt(squid, at, {
            problem:
              'nothing lets a CONNECT from the pods through: http_access refuses what no allow before it fits',
            fix: `write${end === -1 ? '' : ` before line ${at.line}`}, with a password asked for where others can reach the proxy:\nacl CONNECT method CONNECT\nacl migration dstdomain .apps.TARGET\nhttp_access allow CONNECT migration`,
          }),
        ];
  });
}

/** Time limits that end tunnels which are silent, or long. */
export function squidTimeouts(subject: Subject): readonly Mistake[] {
  return whole(subject).flatMap((squid) =>
    TIMEOUTS.flatMap(({ name, atLeastSeconds, byDefault, problem, fix }) => {
      const given = named(squid, name).at(-1);
      const seconds = given && secondsOf(given.words);
      if (given !== undefined && (seconds === undefined || seconds > atLeastSeconds)) return [];
      const at = given ?? named(squid, 'http_port')[0] ?? squid.directives[0];
      const is =
        given === undefined
          ? `${name} is missing, which means ${byDefault}`
          : `${name} is ${given.words.join(' ')}`;
      return at === undefined
        ? []
        : [mistakeAt(squid, at, { problem: `${is}: ${problem}`, fix: `write\n${fix}` })];
    }),
  );
}

const TIMEOUTS = [
  {
    name: 'read_timeout',
    atLeastSeconds: 3599,
    byDefault: '15 minutes',
    problem: 'a tunnel that is silent for as long is cut, and rsync is silent for hours while it compares',
    fix: 'read_timeout 12 hours',
  },
  {
    name: 'client_lifetime',
    atLeastSeconds: 86_400,
    byDefault: '1 day',
    problem: 'a transfer that takes longer is cut, however busy it is',
    fix: 'client_lifetime 30 days',
  },
] as const;

const UNIT_SECONDS: readonly (readonly [RegExp, number])[] = [
  [/^seconds?$/i, 1],
  [/^minutes?$/i, 60],
  [/^hours?$/i, 3600],
  [/^days?$/i, 86_400],
  [/^weeks?$/i, 604_800],
  [/^fortnights?$/i, 1_209_600],
  [/^months?$/i, 2_592_000],
  [/^years?$/i, 31_557_790],
  [/^decades?$/i, 315_577_900],
];

/** Undefined: it is no time that Squid writes, so nothing can be said of it. */
function secondsOf([number = '', unit = 'seconds']: readonly string[]): number | undefined {
  const factor = UNIT_SECONDS.find(([name]) => name.test(unit))?.[1];
  return factor === undefined || !/^\d+(?:\.\d+)?$/.test(number) ? undefined : Number(number) * factor;
}
