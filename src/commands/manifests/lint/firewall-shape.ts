import { parseRange } from '../../../access/addresses.js';
import { firewallsOf, readCidr } from './firewalls.js';
import { type KubeObject, type Mistake, mistakeIn, type Subject } from './subject.js';
import { entryAt, isTemplate, listAt, textAt, type Value, valueAt } from './value.js';

/** EgressFirewalls that are not called what OVN-Kubernetes wants. */
export function firewallName(subject: Subject): readonly Mistake[] {
  return firewallsOf(subject)
    .filter(
      ({ object: { kind, name } }) => kind === 'EgressFirewall' && name !== 'default' && !isTemplate(name),
    )
    .map(({ object }) =>
      mistakeIn(object, entryAt(object.root, 'metadata', 'name'), {
        problem: 'an EgressFirewall of any other name than default is refused',
        fix: 'write name: default',
      }),
    );
}

/** Rules with ports where there are none. */
export function portsInEgressNetworkPolicy(subject: Subject): readonly Mistake[] {
  return firewallsOf(subject)
    .filter(({ object }) => object.kind === 'EgressNetworkPolicy')
    .flatMap(({ object, rules }) =>
      rules.flatMap(({ value }) => {
        const ports = entryAt(value, 'ports');
        if (ports === undefined) return [];
        return [
          mistakeIn(object, ports, {
            problem:
              'OpenShift SDN knows no ports in an EgressNetworkPolicy: the rule is refused, or counts for every port',
            fix: 'leave ports out; on OVN-Kubernetes write an EgressFirewall',
          }),
        ];
      }),
    );
}

/** Rules that the API server refuses, or that mean something else than they seem to. */
export function firewallRuleShape(subject: Subject): readonly Mistake[] {
  return firewallsOf(subject).flatMap(({ object, rules }) =>
    rules.flatMap(({ value }) => [
      ...typeMistakes(object, value),
      ...selectorMistakes(object, value),
      ...cidrMistakes(object, value),
      ...nameMistakes(object, value),
      ...(object.kind === 'EgressFirewall' ? portMistakes(object, value) : []),
    ]),
  );
}

function nameMistakes(object: KubeObject, rule: Value): readonly Mistake[] {
  const name = valueAt(rule, 'to', 'dnsName');
  if (name?.text === undefined || isTemplate(name.text) || /^<.*>$/.test(name.text)) return [];
  if (!/[:/]/.test(name.text)) return [];
  return [
    mistakeIn(object, name, {
      problem: 'dnsName is a name alone, without scheme, port and path',
      fix: object.kind === 'EgressFirewall' ? 'write the name, and the port into ports' : 'write the name',
    }),
  ];
}

function typeMistakes(object: KubeObject, rule: Value): readonly Mistake[] {
  const type = textAt(rule, 'type');
  if (type === 'Allow' || type === 'Deny' || isTemplate(type ?? '')) return [];
  return [
    mistakeIn(object, entryAt(rule, 'type') ?? rule, {
      problem: `the type of this rule is ${type === undefined ? 'missing' : 'neither Allow nor Deny'}`,
      fix: 'write type: Allow, or type: Deny',
    }),
  ];
}

function selectorMistakes(object: KubeObject, rule: Value): readonly Mistake[] {
  const ovn = object.kind === 'EgressFirewall';
  const selectors = ['cidrSelector', 'dnsName', ...(ovn ? ['nodeSelector'] : [])];
  const given = selectors.filter((key) => entryAt(rule, 'to', key) !== undefined);
  if (given.length === 1) return [];
  const nodes = !ovn && entryAt(rule, 'to', 'nodeSelector') !== undefined;
  return [
    mistakeIn(object, entryAt(rule, 'to') ?? rule, {
      problem: `to has ${given.length === 0 ? 'none' : 'more than one'} of ${selectors.join(', ')}${nodes ? ' (an EgressNetworkPolicy has no nodeSelector)' : ''}`,
      fix: 'write exactly one of them, and another rule for another one',
    }),
  ];
}

function cidrMistakes(object: KubeObject, rule: Value): readonly Mistake[] {
  const cidr = valueAt(rule, 'to', 'cidrSelector');
  // What is still to be filled in is told as that.
  if (cidr?.text === undefined || isTemplate(cidr.text) || /^<.*>$/.test(cidr.text)) return [];
  const range = readCidr(cidr.text);
  if (range === undefined) {
    const address = parseRange(cidr.text);
    const fix =
      address === undefined
        ? 'write it like 192.0.2.0/24; a name goes into dnsName'
        : `write ${address.network}/${address.prefix}`;
    return [mistakeIn(object, cidr, { problem: 'cidrSelector is not a range', fix })];
  }
  if (parseRange(cidr.text) !== undefined) return [];
  const meant = `${range.network}/${range.prefix}`;
  const single = range.network.kind() === 'ipv4' ? 32 : 128;
  return [
    mistakeIn(object, cidr, {
      problem: `this is the range ${meant}: bits behind the prefix do not count, or are refused`,
      fix: `write ${meant}, or /${single} for the one address`,
    }),
  ];
}

function portMistakes(object: KubeObject, rule: Value): readonly Mistake[] {
  return listAt(rule, 'ports')
    .filter((each) => {
      const [protocol = '', port = ''] = [textAt(each, 'protocol'), textAt(each, 'port')];
      if (isTemplate(protocol + port)) return false;
      return (
        !/^(?:TCP|UDP|SCTP)$/.test(protocol) ||
        !/^\d+$/.test(port) ||
        Number(port) < 1 ||
        Number(port) > 65535
      );
    })
    .map((each) =>
      mistakeIn(object, each, {
        problem: 'a port of an EgressFirewall needs a protocol (TCP, UDP or SCTP) and a number',
        fix: 'write it like\nports:\n- protocol: TCP\n  port: 3128',
      }),
    );
}
