import { nearest } from '../../../config/nearest.js';
import { readCidr } from './firewalls.js';
import { networkPolicies } from './policies.js';
import { covers, spanOf } from './ranges.js';
import { type KubeObject, type Mistake, mistakeIn, type Subject } from './subject.js';
import { type Entry, entryAt, isTemplate, listAt, textAt, type Value, valueAt } from './value.js';

/** What the API server refuses in a NetworkPolicy, or takes for something else, whatever pods it is for. */
export function notAPolicy(subject: Subject): readonly Mistake[] {
  return networkPolicies(subject).flatMap((object) =>
    [...flawsIn(object)].map(({ at, problem, fix }) => mistakeIn(object, at, { problem, fix })),
  );
}

interface Flaw {
  readonly at: Value | Entry | undefined;
  readonly problem: string;
  readonly fix: string;
}

/** The keys of each kind of map. */
const KEYS = {
  spec: ['podSelector', 'policyTypes', 'ingress', 'egress'],
  ingress: ['from', 'ports'],
  egress: ['to', 'ports'],
  peer: ['podSelector', 'namespaceSelector', 'ipBlock'],
  ipBlock: ['cidr', 'except'],
  port: ['protocol', 'port', 'endPort'],
  selector: ['matchLabels', 'matchExpressions'],
} as const;

/** Keys that belong elsewhere, and what to do about them. */
const STRAY: Readonly<Record<string, string>> = {
  to: 'an ingress rule has from; connections to elsewhere are a matter of egress',
  from: 'an egress rule has to; connections from elsewhere are a matter of ingress',
  dnsName: 'a NetworkPolicy knows no names: write ipBlock with its address, or an EgressFirewall',
  cidrSelector: 'that is a key of firewalls: write ipBlock: {cidr: …}',
};

function* flawsIn({ root, name, namespace }: KubeObject): Generator<Flaw> {
  const spec = valueAt(root, 'spec');
  const isName = isOpen(name) || name === '' || (name.length < 254 && RFC_1123.test(name));
  const isNamespace =
    isOpen(namespace) || namespace === '' || (/^[^.]{1,63}$/.test(namespace) && RFC_1123.test(namespace));
  if (!isName || !isNamespace)
    yield {
      at: entryAt(root, 'metadata', isName ? 'namespace' : 'name'),
      problem: `${isName ? 'the namespace' : 'the name'} is none: lower-case letters, digits and dashes are (RFC 1123)`,
      fix: 'write it like rsync-egress',
    };
  if (spec?.map === undefined) return;
  yield* strayKeys(spec, 'spec');
  if (entryAt(spec, 'podSelector') === undefined && entryAt(spec, '<<') === undefined)
    yield {
      at: entryAt(root, 'spec'),
      problem: 'podSelector is missing: the policy is refused, or is for every pod of the namespace',
      fix: 'write the podSelector, or podSelector: {} where every pod is meant',
    };
  yield* selectorFlaws(valueAt(spec, 'podSelector'));
  yield* notAList(spec, 'policyTypes', '[Egress]');
  for (const type of listAt(spec, 'policyTypes'))
    if (type.text !== undefined && !/^(?:In|E)gress$/.test(type.text) && !isOpen(type.text))
      yield {
        at: type,
        problem: 'a type is Ingress or Egress, with a capital letter',
        fix: `write ${/^e/i.test(type.text) ? 'Egress' : 'Ingress'}`,
      };
  for (const [direction, peers] of [
    ['ingress', 'from'],
    ['egress', 'to'],
  ] as const) {
    yield* notAList(spec, direction, 'a - before every rule');
    for (const rule of listAt(spec, direction)) {
      yield* strayKeys(rule, direction);
      yield* notAList(rule, peers, 'a - before every peer');
      yield* notAList(rule, 'ports', 'a - before every port');
      for (const peer of listAt(rule, peers)) yield* peerFlaws(peer);
      for (const port of listAt(rule, 'ports')) yield* portFlaws(port);
    }
  }
}

const RFC_1123 = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/;

/** Still to be filled in, which is told as that, or not at all. */
function isOpen(text: string): boolean {
  return isTemplate(text) || /^<.*>$/.test(text) || text === '...' || text === '…';
}

function* strayKeys(value: Value, kind: keyof typeof KEYS): Generator<Flaw> {
  const known: readonly string[] = KEYS[kind];
  for (const [key, entry] of value.map ?? []) {
    if (known.includes(key) || key === '<<' || isOpen(key)) continue;
    const shown = /^[A-Za-z]{1,30}$/.test(key) ? key : 'a key';
    const meant = known.find((each) => each.toLowerCase() === key.toLowerCase()) ?? nearest(key, known);
    yield {
      at: entry,
      problem: `${shown} is no key of ${kind === 'spec' ? 'spec' : `this ${kind}${/gress/.test(kind) ? ' rule' : ''}`}: it is refused, or dropped without a word`,
      fix:
        (kind !== 'spec' && Object.hasOwn(STRAY, key) && STRAY[key]) || `write ${meant ?? known.join(', ')}`,
    };
  }
}

function* notAList(value: Value, key: string, fix: string): Generator<Flaw> {
  const entry = entryAt(value, key);
  if (entry?.value.map === undefined && (entry?.value.text === undefined || isOpen(entry.value.text))) return;
  yield { at: entry, problem: `${key} is no list, so the policy is refused`, fix: `write ${fix}` };
}

function* selectorFlaws(selector: Value | undefined): Generator<Flaw> {
  if (selector === undefined) return;
  yield* strayKeys(selector, 'selector');
  yield* notAList(selector, 'matchExpressions', 'a - before every expression');
  const labels = entryAt(selector, 'matchLabels');
  if (labels?.value.list !== undefined)
    yield {
      at: labels,
      problem: 'matchLabels is a list: it is refused',
      fix: 'write KEY: VALUE, without a -',
    };
}

function* peerFlaws(peer: Value): Generator<Flaw> {
  yield* strayKeys(peer, 'peer');
  yield* selectorFlaws(valueAt(peer, 'podSelector'));
  yield* selectorFlaws(valueAt(peer, 'namespaceSelector'));
  const block = valueAt(peer, 'ipBlock');
  if (block?.map === undefined) return;
  yield* strayKeys(block, 'ipBlock');
  yield* notAList(block, 'except', '[RANGE]');
  if (['podSelector', 'namespaceSelector'].some((key) => valueAt(peer, key) !== undefined))
    yield {
      at: entryAt(peer, 'ipBlock'),
      problem: 'ipBlock beside a selector in one peer is refused',
      fix: 'put a - before each, where one of them is to be enough',
    };
  const [cidr = '', outer] = [textAt(block, 'cidr'), readCidr(textAt(block, 'cidr') ?? '')];
  if (outer === undefined && !isOpen(cidr) && entryAt(block, '<<') === undefined)
    yield {
      at: entryAt(block, 'cidr') ?? block,
      problem: 'cidr is no range',
      fix: /^[\d.]+$/.test(cidr) ? `write ${cidr}/32` : 'write it like 192.0.2.0/24',
    };
  for (const except of listAt(block, 'except')) {
    const inner = readCidr(except.text ?? '');
    const isIn = outer && inner && covers(spanOf(outer), spanOf(inner)) && inner.prefix > outer.prefix;
    if (outer === undefined || isIn || isOpen(except.text ?? '')) continue;
    yield {
      at: except,
      problem: 'except is no range inside of cidr',
      fix: 'write a part of cidr, or leave it out',
    };
  }
}

function* portFlaws(value: Value): Generator<Flaw> {
  yield* strayKeys(value, 'port');
  const [protocol = 'TCP', port, end] = ['protocol', 'port', 'endPort'].map(
    (key) => valueAt(value, key)?.text,
  );
  if (!/^(?:TCP|UDP|SCTP)$/.test(protocol) && !isOpen(protocol))
    yield {
      at: entryAt(value, 'protocol'),
      problem: 'a protocol is TCP, UDP or SCTP, in capitals',
      fix: `write protocol: ${/udp/i.test(protocol) ? 'UDP' : 'TCP'}`,
    };
  if (port !== undefined && /^-?\d+$/.test(port)) {
    const isText = valueAt(value, 'port')?.string === true;
    if (isText || Number(port) < 1 || Number(port) > 65535)
      yield {
        at: entryAt(value, 'port'),
        problem: isText
          ? 'in quotes a port is a name, and a name needs a letter'
          : 'a port is from 1 to 65535',
        fix: isText ? `write port: ${port}` : 'write the port',
      };
    if (end !== undefined && /^\d+$/.test(end) && Number(end) < Number(port))
      yield { at: entryAt(value, 'endPort'), problem: 'endPort is before port', fix: 'write the last port' };
  }
}
