import t from 'tap';
import {
  type ALONE,
  egressFirewall,
  egressNetworkPolicy,
  found,
  migrationController,
  networkPolicy,
  SELECTOR,
  squid,
} from './fixtures/lint.js';
import { PROXY, range } from './fixtures/lint-policies.js';

const URL = 'spec:\n  stunnel_tcp_proxy: http://migration:secret@192.0.2.10:3128\n';
const allow = (to: string) => `  - type: Allow\n    to: {${to}}\n`;
const deny = (to: string) => `  - type: Deny\n    to: {${to}}\n`;

/** As `envsubst` replaces it. */
const variable = (name: string) => `$\{${name}}`;

/** What people have in their clusters, with what the call knows besides. */
const GOOD: Readonly<Record<string, readonly [text: string, given?: Partial<typeof ALONE>]>> = {
  'a policy that denies everything, which has nothing to do with a migration': [
    networkPolicy('  podSelector: {}\n  policyTypes: [Ingress, Egress]\n'),
  ],
  'the same beside a proxy that is known, in another namespace than what is migrated': [
    networkPolicy('  podSelector: {}\n  policyTypes: [Egress]\n'),
    { ...PROXY, sourceNamespaces: ['other'] },
  ],
  'policies of an application, without policyTypes': [
    networkPolicy(
      '  podSelector: {matchLabels: {app: web, owner: team-a}}\n  ingress:\n  - from: [{podSelector: {}}]\n    ports: [{port: 443}]\n  egress: []\n',
      'web-egress',
    ),
  ],
  'an egress policy for an application without policyTypes, beside those for a migration': [
    [
      networkPolicy(
        '  podSelector: {matchLabels: {tier: web}}\n  egress: [{to: [{podSelector: {}}]}]\n',
        'web',
      ),
      networkPolicy(
        `${SELECTOR}  policyTypes: [Egress]\n  egress: [{ports: [{port: 3128}, {protocol: UDP, port: 53}]}]\n`,
      ),
    ].join('---\n'),
  ],
  'policies of every shape that is taken': [
    [
      '  podSelector:\n  policyTypes: []\n  ingress:\n  egress:\n',
      `  podSelector: {}\n  policyTypes: [Ingress, Egress]\n  ingress:\n  - {}\n  - from: []\n    ports:\n  - from: [{podSelector: {matchLabels: {a: b}}, namespaceSelector: {}}]\n    ports: [{port: web-1}, {}]\n`,
      `  podSelector: {matchExpressions: [{key: a, operator: Exists}]}\n  policyTypes: ['${variable('TYPE')}']\n  egress:\n  - to: [{ipBlock: {cidr: '${variable('CIDR')}', except: [192.0.2.0/24]}}]\n    ports: [{protocol: '${variable('A')}', port: '${variable('B')}'}]\n`,
      '  podSelector: {}\n  egress: [{to: [{ipBlock: {cidr: "::/0", except: ["fd00::/8"]}}, {ipBlock: {cidr: 10.1.2.3/8, except: [10.1.2.3/16]}}]}]\n',
      '  <<: &spec {podSelector: {}}\n  ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]\n',
    ]
      .map((spec, at) => networkPolicy(spec, `shape-${at}.example`))
      .join('---\n'),
  ],
  'a policy that keeps others than those of a migration': [
    networkPolicy(
      '  podSelector:\n    matchExpressions: [{key: app, operator: NotIn, values: [directvolumemigration-rsync-transfer]}]\n  policyTypes: [Egress]\n',
    ),
  ],
  'policies of applications in a namespace that is migrated': [
    [
      '  podSelector: {matchLabels: {tier: db}}\n  policyTypes: [Egress]\n',
      '  podSelector: {matchExpressions: [{key: app.kubernetes.io/name, operator: In, values: [web]}]}\n  policyTypes: [Egress]\n  egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]\n',
    ]
      .map((spec, at) => networkPolicy(spec, `application-${at}`))
      .join('---\n'),
    { ...PROXY, sourceNamespaces: ['shop'] },
  ],
  'the proxy in a block with bits behind its prefix, which Kubernetes takes': [
    networkPolicy(
      `${SELECTOR}  policyTypes: [Egress]\n  egress: [{to: [{ipBlock: {cidr: 192.0.2.10/24}}]}]\n`,
    ),
    PROXY,
  ],
  'files with byte order marks, one behind another': [
    ['a', 'b'].map((name) => `\uFEFF${networkPolicy('  podSelector: {}\n', name)}`).join('---\n'),
  ],
  "Calico's NetworkPolicy, which is another kind": [
    networkPolicy('  selector: app == "a"\n  types: [Egress]\n').replace(
      'networking.k8s.io/v1',
      'projectcalico.org/v3',
    ),
  ],
  'other kinds of the same APIs': [
    ['Ingress', 'IngressClass']
      .map((kind) => `apiVersion: networking.k8s.io/v1\nkind: ${kind}\nmetadata: {name: <a>}\n`)
      .join('---\n') +
      ['MigPlan', 'MigCluster', 'MigMigration', 'DirectVolumeMigration']
        .map(
          (kind) => `---\napiVersion: migration.openshift.io/v1alpha1\nkind: ${kind}\nmetadata: {name: a}\n`,
        )
        .join(''),
  ],
  'an egress firewall that denies some ranges only': [
    egressFirewall(
      `${deny('cidrSelector: 169.254.169.254/32')}${deny('dnsName: ads.example')}${allow('dnsName: a.example')}`,
    ),
    PROXY,
  ],
  'an Allow that a Deny before it covers in part': [
    egressNetworkPolicy(
      `${deny('cidrSelector: 10.1.0.0/16')}${allow('cidrSelector: 10.0.0.0/8')}${deny('cidrSelector: 192.0.2.128/25')}`,
    ),
    PROXY,
  ],
  'a Deny of IPv6 before an Allow of IPv4': [
    egressNetworkPolicy(`${deny('cidrSelector: "2001:db8::/32"')}${allow('cidrSelector: 192.0.2.0/24')}`),
  ],
  'firewalls of two namespaces': [
    `${egressFirewall(allow('dnsName: a.example'))}---\n${egressFirewall(allow('dnsName: b.example'), 'b')}`,
  ],
  'a firewall of a namespace that is not migrated': [
    egressFirewall(deny('cidrSelector: 192.0.0.0/8')),
    { ...PROXY, sourceNamespaces: ['other'] },
  ],
  'the same, said by a MigPlan': [
    `${egressFirewall(deny('cidrSelector: 192.0.0.0/8'))}---\napiVersion: migration.openshift.io/v1alpha1\nkind: MigPlan\nmetadata: {name: a}\nspec: {namespaces: ["old:shop"]}\n`,
    PROXY,
  ],
  'a firewall where the proxy runs, which need not reach itself': [
    egressFirewall(deny('cidrSelector: 192.0.0.0/8'), 'spliceway'),
    PROXY,
  ],
  'a proxy in the same cluster, which no firewall is about': [
    egressFirewall(`${allow('nodeSelector: {}')}${deny('cidrSelector: 0.0.0.0/0')}`),
    { proxy: { host: 'spliceway.spliceway.svc', port: 3128 } },
  ],
  'the same by the address of its Service': [
    egressFirewall(`${allow('nodeSelector: {}')}${deny('cidrSelector: 0.0.0.0/0')}`),
    { proxy: { host: '172.30.12.34', port: 3128 } },
  ],
  'a namespace closed at the source, and one that is nothing to the migration': [
    ['shop', 'else']
      .map((name) => networkPolicy('  podSelector: {}\n  policyTypes: [Ingress]\n').replace('shop', name))
      .join('---\n'),
    { sourceNamespaces: ['shop'], targetNamespaces: ['shop', 'new'] },
  ],
  'a namespace of the destination in which the router is let in, in two policies': [
    [
      '  podSelector: {}\n  policyTypes: [Ingress]\n',
      '  podSelector: {matchLabels: {tier: web}}\n  ingress: [{from: [{podSelector: {}}]}]\n',
      '  podSelector: {}\n  ingress: [{from: [{namespaceSelector: {matchLabels: {network.openshift.io/policy-group: ingress}}}]}]\n',
    ]
      .map((spec, at) => networkPolicy(spec, `policy-${at}`))
      .join('---\n'),
    { targetNamespaces: ['shop'] },
  ],
  'a proxy by a name that one of the ranges may hold': [
    egressFirewall(`${allow('cidrSelector: 198.51.100.0/24')}${deny('cidrSelector: 0.0.0.0/0')}`),
    { proxy: { host: 'proxy.example', port: 3128 } },
  ],
  'the proxy by its name, and by a pattern': [
    `${egressFirewall(`${allow('dnsName: "*.example."')}${deny('cidrSelector: 0.0.0.0/0')}`)}---\n${egressNetworkPolicy(`${allow('dnsName: proxy.example')}${allow('dnsName: api.a.example')}${deny('cidrSelector: 0.0.0.0/0')}`)}`,
    { proxy: { host: 'proxy.example', port: 3128 }, proxyAddresses: [range('192.0.2.10')] },
  ],
  'pods of the proxy behind a selector': [
    networkPolicy(
      `${SELECTOR}  policyTypes: [Egress]\n  egress:\n  - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: spliceway}}}]\n  - ports: [{protocol: UDP, port: dns}]\n`,
    ),
    PROXY,
  ],
  'the stunnel of MTC 1.4, to which its rsync pods connect at the source': [
    networkPolicy(
      `${SELECTOR}  policyTypes: [Ingress]\n  ingress:\n  - from: [{podSelector: {matchLabels: {app: directvolumemigration-rsync-transfer}}}]\n    ports: [{port: 2222}]\n`,
    ),
    { mtc: '1.4', sourceNamespaces: ['shop'], targetNamespaces: ['new'] },
  ],
  'a NetworkPolicy of OpenShift for the router, twice the same': [
    [1, 2]
      .map(() =>
        networkPolicy(
          '  podSelector: {}\n  ingress:\n  - from: [{namespaceSelector: {matchLabels: {network.openshift.io/policy-group: ingress}}}]\n',
          'allow-from-openshift-ingress',
        ),
      )
      .join('---\n'),
  ],
  'objects of two clusters, as they are there': [
    ['Ingress', 'Egress']
      .map((type) =>
        networkPolicy(`  podSelector: {}\n  policyTypes: [${type}]\n`).replace(
          'shop}',
          `shop, uid: ${type}}`,
        ),
      )
      .join('---\n'),
  ],
  'a MigrationController as the cluster prints it': [
    `${migrationController(`${URL}  migration_controller: true\n  mig_namespace_limit: "10"\nstatus:\n  stunnel_tcp_proxy: x\n`)}`.replace(
      'metadata:\n',
      'metadata:\n  annotations:\n    kubectl.kubernetes.io/last-applied-configuration: |\n      {"spec":{"stunnel_tcp_proxy":"<proxy>"}}\n',
    ),
  ],
  'users and hosts that are called almost as in the documents': [
    [
      'http://user:secret@host.example:3128',
      'http://USER1:PASSWORDS@HOST.example:3128',
      'http://a:b@127.example:1',
    ]
      .map((url) => migrationController(`spec:\n  stunnel_tcp_proxy: ${url}\n`))
      .map((text, at) => text.replace('metadata:', `metadata:\n  uid: cluster-${at}`))
      .join('---\n'),
  ],
  'without a proxy': [
    migrationController('spec:\n  stunnel_tcp_proxy: ""\n  http_proxy: http://a.example\n'),
  ],
  'templates that are filled in later': [
    egressFirewall(
      `${allow(`cidrSelector: "${variable('PROXY')}/32"`)}${deny('cidrSelector: 192.0.0.0/8')}`,
    ).replace('default', `'${variable('NAME')}'`),
  ],
  'a proxy that is filled in later': [
    migrationController(`spec:\n  stunnel_tcp_proxy: '${variable('PROXY_URL')}'\n`),
  ],
  'a piece of a squid.conf, which another one takes in': [
    'acl migration dstdomain .apps.target.example\nhttp_access allow CONNECT migration\n',
  ],
  'a squid.conf that splices names and takes in other files': [
    'include /etc/squid/conf.d/*.conf\nhttp_port 3128 ssl-bump cert=/a\nacl s ssl::server_name .t.example\nacl one dstdomain example.com\nssl_bump peek all\nssl_bump splice s\nssl_bump bump all\nhttp_access allow localhost\n',
  ],
  'a squid.conf as Squid comes with, for pods that are known': [
    squid(
      'acl localnet src 10.0.0.0/8\nacl Safe_ports port 80 443 1025-65535\nhttp_access deny !Safe_ports\nhttp_access allow localhost manager\nhttp_access deny manager\nhttp_access deny to_localhost\nhttp_access allow localnet\nicp_port 0\nhtcp_port 0\nsnmp_port 0\nvia off',
    ),
  ],
  'a squid.conf that asks everybody for a password before it allows all': [
    squid(
      'auth_param basic program /a /b\nacl known proxy_auth REQUIRED\nhttp_access deny !known\nhttp_access allow all',
    ),
  ],
  'a squid.conf that only its own machine reaches': [
    squid('http_access allow all').replace('http_port 3128', 'http_port 127.0.0.1:3128'),
  ],
  'a squid.conf without TLS of its own': [squid('# comment\nacl SSL_ports port 8443')],
};

for (const [about, [text, given]] of Object.entries(GOOD)) {
  t.test(about, async (t) => {
    t.same(found(text, given), []);
  });
}
