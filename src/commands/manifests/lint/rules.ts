import * as controller from './controller-rules.js';
import * as egress from './egress-rules.js';
import * as needs from './firewall-needs.js';
import * as firewall from './firewall-rules.js';
import * as shape from './firewall-shape.js';
import * as ingress from './ingress-rules.js';
import * as objects from './object-rules.js';
import * as policy from './policy-rules.js';
import { notAPolicy } from './policy-shape.js';
import * as squidAccess from './squid-access.js';
import * as squid from './squid-rules.js';
import type { Rule } from './subject.js';

/** Every rule by its name, which is shown with what it finds. */
export const RULES = {
  'not-yaml': {
    level: 'mistake',
    finds: 'YAML that nothing can be made of, and keys that stand twice',
    fix: 'as the message says; `[...]` stands for keys that somebody left out',
    check: ({ unreadable }) => unreadable.map((piece) => ({ object: 'YAML', ...piece })),
  },
  'wrong-api-version': {
    level: 'mistake',
    finds: 'an apiVersion that does not have this kind',
    fix: 'the one that has it',
    check: objects.wrongApiVersion,
  },
  'wrong-kind': {
    level: 'mistake',
    finds: 'a kind that is almost one of those above',
    fix: 'its name',
    check: objects.wrongKind,
  },
  'placeholder-left': {
    level: 'mistake',
    finds: '`<namespace>` and the like, left in',
    fix: 'what it stands for',
    check: objects.placeholderLeft,
  },
  'duplicate-policy-name': {
    level: 'mistake',
    finds: 'two different objects of the same kind, namespace and name: the second overwrites the first',
    fix: 'another name',
    check: objects.duplicateName,
  },
  'name-says-otherwise': {
    level: 'mistake',
    finds: 'an ingress policy called egress, or the reverse',
    fix: 'a name that says what it is',
    check: objects.nameSaysOtherwise,
  },
  'not-a-policy': {
    level: 'mistake',
    finds:
      'what the API server refuses in a NetworkPolicy, or takes for something else: keys, ports, ranges, names',
    fix: 'as the message says',
    check: notAPolicy,
  },
  'selector-misses-pods': {
    level: 'mistake',
    finds: 'a podSelector without the source pods of MTC 1.4 and 1.5 (no `owner`) or the block pods of 1.8',
    fix: '`app In [directvolumemigration-rsync-transfer, directvolumemigration-rsync-transfer-block]`, or `--mtc`',
    check: policy.selectorMisses,
  },
  'rules-without-type': {
    level: 'mistake',
    finds: 'ingress or egress rules whose direction is not in policyTypes',
    fix: 'the type',
    check: policy.rulesWithoutType,
  },
  'allows-nothing': {
    level: 'mistake',
    finds:
      "a policy for the migration's pods without any rule, which forbids everything; an egress policy without policyTypes, which forbids ingress as well",
    fix: 'the rules that `spliceway manifest source` or `target` prints; `policyTypes: [Egress]`',
    check: policy.allowsNothing,
  },
  'egress-misses-proxy': {
    level: 'mistake',
    finds: 'egress policies of a source namespace that do not let its pods reach the proxy',
    fix: 'an egress rule for its address and port',
    check: egress.egressMissesProxy,
  },
  'egress-without-dns': {
    level: 'mistake',
    finds: 'egress policies of a source namespace without DNS',
    fix: 'an egress rule for DNS, on OpenShift UDP and TCP 5353',
    check: egress.egressWithoutDns,
  },
  'ingress-wrong-port': {
    level: 'mistake',
    finds: 'ingress policies that open 443 or others instead of 6443 (2222 up to MTC 1.5)',
    fix: 'that port',
    check: ingress.ingressWrongPort,
  },
  'ingress-wrong-source': {
    level: 'mistake',
    finds: 'ingress policies that do not let the router in',
    fix: '`policy-group.network.openshift.io/ingress: ""` in a namespaceSelector',
    check: ingress.ingressWrongSource,
  },
  'firewall-name': {
    level: 'mistake',
    finds: 'an EgressFirewall that is not called default',
    fix: '`name: default`',
    check: shape.firewallName,
  },
  'second-firewall': {
    level: 'mistake',
    finds: 'more than one EgressNetworkPolicy, or EgressFirewall, in a namespace',
    fix: 'one, with the rules of all',
    check: objects.secondFirewall,
  },
  'firewall-rule-shape': {
    level: 'mistake',
    finds:
      'firewall rules without exactly one of cidrSelector, dnsName and nodeSelector, with other types, ports or no ranges',
    fix: 'as the message says',
    check: shape.firewallRuleShape,
  },
  'ports-in-egress-network-policy': {
    level: 'mistake',
    finds: 'ports in an EgressNetworkPolicy, which has none',
    fix: 'leave them out',
    check: shape.portsInEgressNetworkPolicy,
  },
  'deny-where-allow-is-meant': {
    level: 'mistake',
    finds: "`Deny` for the proxy's address, or for one that is still to be filled in",
    fix: '`Allow`',
    check: needs.denyWhereAllow,
  },
  'allow-behind-deny': {
    level: 'mistake',
    finds: 'an `Allow` that earlier `Deny` rules cover',
    fix: 'move it before them',
    check: firewall.allowBehindDeny,
  },
  'firewall-blocks-migration': {
    level: 'mistake',
    finds:
      "a firewall that refuses the proxy (source namespaces) or the target's router (the proxy's namespace)",
    fix: '`Allow` for its address before the `Deny`: `spliceway manifest source --merge FILE`',
    check: needs.firewallBlocksMigration,
  },
  'cluster-instead-of-proxy': {
    level: 'mistake',
    finds: "the range of a cluster where the proxy's address belongs",
    fix: "the proxy's address",
    check: firewall.clusterInsteadOfProxy,
  },
  'controller-name': {
    level: 'mistake',
    finds: 'a MigrationController that is not openshift-migration/migration-controller',
    fix: 'that name, that namespace',
    check: controller.controllerName,
  },
  'proxy-url': {
    level: 'mistake',
    finds: 'a stunnel_tcp_proxy that YAML, the operator, Go or stunnel read differently than it was meant',
    fix: 'as the message says; `spliceway manifest host` writes it',
    check: controller.proxyUrl,
  },
  'proxy-url-example': {
    level: 'mistake',
    finds: '`http://username:password@ip:port`, `http://USER:PASSWORD@HOST:PORT`, or a part of them',
    fix: 'the real one',
    check: controller.proxyUrlExample,
  },
  'proxy-url-key': {
    level: 'mistake',
    finds: 'stunnel_tcp_proxy misspelt, or outside of spec',
    fix: '`spec.stunnel_tcp_proxy`',
    check: controller.proxyUrlKey,
  },
  'splice-after-bump': {
    level: 'mistake',
    finds: 'Squid: `ssl_bump splice` behind `ssl_bump bump all`, where it never applies',
    fix: 'move it before',
    check: squid.spliceAfterBump,
  },
  'bumps-tunnels': {
    level: 'mistake',
    finds: 'Squid: `ssl_bump bump all` without any splice',
    fix: 'splice what goes to the target before it',
    check: squid.bumpsTunnels,
  },
  'one-route': {
    level: 'mistake',
    finds: 'Squid: a list of names with one route, a domain without the dot, or with `*`',
    fix: '`.apps.TARGET`',
    check: squid.routeNames,
  },
  'connect-not-allowed': {
    level: 'mistake',
    finds: 'Squid: no http_access that lets CONNECT through',
    fix: '`http_access allow CONNECT …`',
    check: squid.connectNotAllowed,
  },
  'squid-directive': {
    level: 'mistake',
    finds: 'Squid: a directive that is almost one',
    fix: 'its name',
    check: squidAccess.misspeltDirective,
  },
  'ssl-ports': {
    level: 'mistake',
    finds: 'Squid: CONNECT held to a list of ports without 6443',
    fix: '`acl SSL_ports port 6443`',
    check: squidAccess.sslPorts,
  },
  'squid-timeouts': {
    level: 'mistake',
    finds: 'Squid: read_timeout under an hour, client_lifetime of a day or less, or none',
    fix: '`read_timeout 12 hours`, `client_lifetime 30 days`',
    check: squid.squidTimeouts,
  },
  'opens-everything': {
    level: 'advice',
    finds: "`- {}` in a policy for the migration's pods",
    fix: 'the least that is needed: `spliceway manifest source`, `target`',
    check: policy.opensEverything,
  },
  'wrong-side': {
    level: 'advice',
    finds:
      'egress policies where volumes only arrive, ingress ones where they only leave (with --source-namespace, --target-namespace)',
    fix: 'leave them out',
    check: policy.wrongSide,
  },
  'blocks-own-cluster': {
    level: 'advice',
    finds: "`Deny 0.0.0.0/0` that also blocks the cluster's own API server",
    fix: '`Allow` for it before, where pods need it',
    check: firewall.blocksCluster,
  },
  'setting-without-effect': {
    level: 'advice',
    finds: 'stunnel_verify_ca and stunnel_verify_ca_level, which MTC 1.6 and later do not read',
    fix: 'leave them out',
    check: controller.settingWithoutEffect,
  },
  'proxy-url-spelling': {
    level: 'advice',
    finds: 'stunnelTcpProxy, which the operator turns into stunnel_tcp_proxy',
    fix: 'the documented name',
    check: controller.proxyUrlSpelling,
  },
  'proxy-url-credentials': {
    level: 'advice',
    finds: 'a stunnel_tcp_proxy without user and password, which spliceway always asks for',
    fix: '`spliceway manifest host` writes it',
    check: controller.proxyUrlWithoutCredentials,
  },
  'squid-open': {
    level: 'advice',
    finds: 'Squid: `http_access allow all` that nothing before it restricts: an open proxy',
    fix: '`http_access allow CONNECT migration`, with a password asked for',
    check: squidAccess.squidOpen,
  },
} as const satisfies Readonly<Record<string, Rule>>;

/** The name of a rule. */
export type RuleName = keyof typeof RULES;
