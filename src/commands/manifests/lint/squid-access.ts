import leven from 'leven';
import { isSquidDirective } from './squid-file.js';
import type { Mistake, SquidDirective, SquidFile, Subject } from './subject.js';

/** A list of ports that CONNECT is held to, without that of API servers. */
export function sslPorts(subject: Subject): readonly Mistake[] {
  return whole(subject).flatMap((squid) => {
    const held = named(squid, 'http_access')
      .filter(
        ({ words: [action, ...acls] }) =>
          // `deny !Safe_ports` is about CONNECT as well.
          action === 'deny' &&
          (acls.some((acl) => isConnect(squid, acl)) || acls.every((acl) => acl.startsWith('!'))),
      )
      .flatMap(({ words }) => words.filter((word) => word.startsWith('!')).map((word) => word.slice(1)));
    return [...new Set([...held, ...listsThatAllow(squid)])].flatMap((acl) => {
      const lists = (squid.acls.get(acl) ?? []).filter(({ words: [, type] }) => type === 'port');
      const [first] = lists;
      const ports = lists.flatMap(({ words }) => words.slice(2));
      if (first === undefined || ports.some((port) => port.startsWith('"') || holdsPort(port, 6443)))
        return [];
      return [
        mistakeAt(squid, first, {
          problem: `6443 is not in ${acl}: CONNECT to the API server of the target (its port, and stunnel's where there is no Route) is refused`,
          fix: `write\nacl ${acl} port 6443`,
        }),
      ];
    });
  });
}

/** The lists of ports of the rules that allow CONNECT, where there is no rule that allows it to every port. */
function listsThatAllow(squid: SquidFile): readonly string[] {
  const allowing = named(squid, 'http_access').filter(
    ({ words: [action, ...acls] }) =>
      action === 'allow' && !acls.some((acl) => NOT_FOR_PODS.test(acl) || isOtherMethod(squid, acl)),
  );
  const lists = allowing.map(({ words }) => words.slice(1).filter((acl) => isPorts(squid, acl)));
  const holds6443 = (acl: string) =>
    (squid.acls.get(acl) ?? []).some(({ words }) =>
      words.slice(2).some((port) => port.startsWith('"') || holdsPort(port, 6443)),
    );
  const some = lists.some((acls) => acls.every(holds6443));
  return some ? [] : lists.flatMap((acls) => acls.filter((acl) => !holds6443(acl)));
}

function isPorts(squid: SquidFile, acl: string): boolean {
  return (squid.acls.get(acl) ?? []).some(({ words: [, type] }) => type === 'port');
}

function holdsPort(text: string, port: number): boolean {
  const [from = '', to = from] = text.split('-');
  return Number(from) <= port && port <= Number(to);
}

/** `http_access allow all` that whoever reaches the proxy gets to. */
export function squidOpen(subject: Subject): readonly Mistake[] {
  return whole(subject).flatMap((squid) => {
    const rules = named(squid, 'http_access');
    const at = rules.findIndex(
      ({ words: [action, ...acls] }) => action === 'allow' && acls.every((acl) => acl === 'all'),
    );
    const open = rules[at];
    const local = [...named(squid, 'http_port'), ...named(squid, 'https_port')].every(
      ({ words: [port = ''] }) => /^(?:127\.|localhost:|\[::1\])/.test(port),
    );
    if (open === undefined || local || rules.slice(0, at).some((rule) => restricts(squid, rule))) return [];
    return [
      mistakeAt(squid, open, {
        problem: 'it is an open proxy: whoever reaches its port gets everywhere, without a password',
        fix: 'write, with a password asked for where others can reach the proxy:\nacl migration dstdomain .apps.TARGET\nhttp_access allow CONNECT migration\nhttp_access deny all',
      }),
    ];
  });
}

/** Whether a rule may keep out who is not known, or what is not wanted: all but those about methods and ports. */
function restricts(squid: SquidFile, { words: [action, ...acls] }: SquidDirective): boolean {
  return (
    action === 'deny' &&
    !acls.some((acl) => /^!?(?:manager|localhost|to_localhost|to_linklocal)$/.test(acl)) &&
    acls.some((acl) => {
      const name = acl.replace('!', '');
      return !isConnect(squid, name) && !isPorts(squid, name) && methodsOf(squid, name) === undefined;
    })
  );
}

/** A directive that is almost one of those that matter. */
export function misspeltDirective(subject: Subject): readonly Mistake[] {
  return subject.squids.flatMap((squid) =>
    [...squid.named].flatMap(([name, [first]]) => {
      if (first === undefined || isSquidDirective(name) || /^(?:icp|htcp|snmp)_port$/.test(name)) return [];
      const meant = DIRECTIVES.find((each) => leven(each, name.toLowerCase()) <= 2);
      if (meant === undefined) return [];
      return [
        mistakeAt(squid, first, {
          problem: 'Squid knows no directive of this name',
          fix: `did you mean ${meant}?`,
        }),
      ];
    }),
  );
}

const DIRECTIVES = [
  ...['http_access', 'http_port', 'https_port', 'ssl_bump', 'read_timeout', 'client_lifetime', 'auth_param'],
  ...[
    'http_reply_access',
    'connect_timeout',
    'always_direct',
    'never_direct',
    'cache_peer',
    'external_acl_type',
  ],
];

/** Lists of Squid's own that no pod of another machine is in. */
export const NOT_FOR_PODS = /^(?:localhost|manager|to_localhost|!all)$/;

/** Whether a list is that of CONNECT. */
export function isConnect(squid: SquidFile, acl: string): boolean {
  return acl === 'CONNECT' || methodsOf(squid, acl)?.includes('CONNECT') === true;
}

/** Whether a list in a rule keeps it from fitting a CONNECT. */
export function isOtherMethod(squid: SquidFile, acl: string): boolean {
  const negated = acl.startsWith('!');
  const isOne = isConnect(squid, acl.replace('!', ''));
  if (negated) return isOne;
  return !isOne && methodsOf(squid, acl) !== undefined;
}

function methodsOf(squid: SquidFile, acl: string): readonly string[] | undefined {
  const lists = (squid.acls.get(acl) ?? []).filter(({ words: [, type] }) => type === 'method');
  return lists.length === 0 ? undefined : lists.flatMap(({ words }) => words.slice(2));
}

/** Without those that take in others or are taken in (none runs without a port): what seems to be missing may be there. */
export function whole({ squids }: Subject): readonly SquidFile[] {
  return squids.filter(
    ({ directives }) =>
      directives.some(({ name }) => /^https?_port$/.test(name)) &&
      !directives.some(({ name }) => name === 'include'),
  );
}

/** The directives of this name. */
export function named(squid: SquidFile, name: string): readonly SquidDirective[] {
  return squid.named.get(name) ?? [];
}

/** A mistake of a directive. */
export function mistakeAt(
  { file }: SquidFile,
  { line, name }: SquidDirective,
  said: Pick<Mistake, 'problem' | 'fix'>,
): Mistake {
  return { file, line, object: `squid.conf ${name}`, ...said };
}
