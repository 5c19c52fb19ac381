import { isIPv4 } from 'node:net';
import { parseRange } from '../access/addresses.js';
import { parseHost, parseTarget, type Target } from '../target.js';
import { nearest } from './nearest.js';
import { OPTIONS } from './options.js';
import { oneOf, type Parsed, parseCount } from './parsers.js';
import { type ConfigOf, option } from './table.js';

/** The releases of the Migration Toolkit for Containers that differ in labels, ports or configurations. */
export const MTC_RELEASES = ['1.4', '1.5', '1.6', '1.7', '1.8'] as const;

/** What the part `proxy` of `spliceway manifest` prints, in the order in which the objects need each other. */
export const PROXY_KINDS = [
  'Namespace',
  'ServiceAccount',
  'Secret',
  'ConfigMap',
  'NetworkPolicy',
  'Service',
  'Deployment',
  'PodDisruptionBudget',
  'HorizontalPodAutoscaler',
  'ServiceMonitor',
] as const;

/** One of {@link PROXY_KINDS}. */
export type ProxyKind = (typeof PROXY_KINDS)[number];

/** Every option of `spliceway manifest`, which are also the keys of an inventory but for the modes: a table, over 300 lines since it has a row for each. */
export const MANIFEST_OPTIONS = {
  namespace: option({
    name: 'namespace',
    placeholder: 'NAMESPACE',
    default: 'spliceway',
    group: 'Proxy',
    help: 'Where the proxy runs.',
    parse: parseLabel,
  }),
  name: option({
    name: 'name',
    placeholder: 'NAME',
    default: 'spliceway',
    group: 'Proxy',
    help: "What the proxy's objects are called.",
    parse: parseServiceName,
  }),
  image: option({
    name: 'image',
    placeholder: 'IMAGE',
    group: 'Proxy',
    help: "The image, as the cluster pulls it. Without: spliceway of this version in NAMESPACE, from OpenShift's own registry.",
    parse: parseImage,
  }),
  pullSecret: option({
    name: 'pull-secret',
    placeholder: 'NAME',
    group: 'Proxy',
    help: 'A Secret in NAMESPACE that the cluster needs to pull the image, such as of a private registry.',
    parse: parseSecretName,
  }),
  replicas: option({
    name: 'replicas',
    placeholder: 'N',
    default: '2',
    group: 'Proxy',
    help: 'Pods at least; none keeps what another one needs.',
    parse: parseReplicas,
  }),
  maxReplicas: option({
    name: 'max-replicas',
    placeholder: 'N',
    default: '6',
    group: 'Proxy',
    help: 'Pods at most, when the load grows.',
    parse: parseReplicas,
  }),
  service: option({
    name: 'service',
    placeholder: 'LoadBalancer|NodePort|ClusterIP',
    default: 'LoadBalancer',
    group: 'Proxy',
    help: 'How the pods of the source cluster reach the proxy.',
    parse: oneOf(['LoadBalancer', 'NodePort', 'ClusterIP']),
  }),
  client: option({
    name: 'client',
    placeholder: 'CIDR',
    repeatable: 'words',
    group: 'Proxy',
    help: 'From where the proxy is reached, as it sees it: nodes or NAT of the source cluster. Without: from everywhere.',
    parse: parseCidr,
  }),
  username: option({ ...OPTIONS.username, default: 'migration', group: 'Proxy', help: 'User of the proxy.' }),
  password: option({
    ...OPTIONS.password,
    group: 'Proxy',
    help: 'Its password; the part proxy invents one otherwise. Better in the inventory, or SPLICEWAY_PASSWORD.',
  }),
  drainTimeout: option({
    ...OPTIONS.drainTimeout,
    group: 'Proxy',
    help: 'How long a pod that ends waits for its tunnels.',
  }),
  without: option({
    name: 'without',
    placeholder: 'KIND',
    repeatable: 'words',
    group: 'Proxy',
    help: 'Leave objects of this kind out, such as ServiceMonitor where there is no Prometheus operator.',
    parse: parseKind,
  }),

  proxy: option({
    name: 'proxy',
    placeholder: 'HOST:PORT',
    // Somebody may write a URL with a password.
    secret: true,
    group: 'Source cluster',
    help: 'Where the pods of the source cluster reach the proxy: its Service, as stunnel_tcp_proxy will say it.',
    parse: parseProxy,
  }),
  proxyAddress: option({
    name: 'proxy-address',
    placeholder: 'CIDR',
    repeatable: 'words',
    group: 'Source cluster',
    help: 'The addresses behind it. Without: the one in --proxy.',
    parse: parseCidr,
  }),
  sourceNamespace: option({
    name: 'source-namespace',
    placeholder: 'NAMESPACE',
    repeatable: 'words',
    group: 'Source cluster',
    help: 'A namespace that is migrated.',
    parse: parseLabel,
  }),
  dnsServer: option({
    name: 'dns-server',
    placeholder: 'CIDR',
    repeatable: 'words',
    group: 'Source cluster',
    help: 'A name server outside of the cluster that its pods ask.',
    parse: parseCidr,
  }),

  targetApps: option({
    name: 'target-apps',
    placeholder: 'DOMAIN',
    group: 'Target cluster',
    help: 'The domain of its Routes, such as apps.target.example.',
    parse: parseDomain,
  }),
  targetApi: option({
    name: 'target-api',
    placeholder: 'HOST:PORT',
    group: 'Target cluster',
    help: 'Its API server, where the controller goes through the proxy as well (HTTPS_PROXY).',
    parse: parseProxy,
  }),
  targetRouter: option({
    name: 'target-router',
    placeholder: 'CIDR|cluster',
    repeatable: 'words',
    group: 'Target cluster',
    help: 'The addresses of its router, and of its API server with --target-api, as the proxy sees them; cluster where the proxy runs in the target cluster.',
    parse: parseRouter,
  }),
  proxySource: option({
    name: 'proxy-source',
    placeholder: 'CIDR',
    repeatable: 'words',
    group: 'Target cluster',
    help: 'Where the proxy comes from, as its router sees it: the Routes of the migration are for these alone. Without: for everybody.',
    parse: parseCidr,
  }),
  targetNamespace: option({
    name: 'target-namespace',
    placeholder: 'NAMESPACE',
    repeatable: 'words',
    group: 'Target cluster',
    help: 'A namespace that volumes arrive in. Without: those of the source.',
    parse: parseLabel,
  }),

  mtc: option({
    name: 'mtc',
    placeholder: MTC_RELEASES.join('|'),
    default: '1.8',
    group: 'Migration',
    help: 'The release of the Migration Toolkit for Containers.',
    parse: oneOf(MTC_RELEASES),
  }),
  network: option({
    name: 'network',
    placeholder: 'ovn|sdn',
    default: 'ovn',
    group: 'Migration',
    help: 'The network plugin: OVN-Kubernetes has EgressFirewall, OpenShift SDN EgressNetworkPolicy.',
    parse: oneOf(['ovn', 'sdn']),
  }),
  policies: option({
    name: 'policies',
    placeholder: 'least|allow-all',
    default: 'least',
    group: 'Migration',
    help: 'What the NetworkPolicies of source and target open: what the migration needs, or everything to and from its pods.',
    parse: oneOf(['least', 'allow-all']),
  }),

  egressFirewall: option({
    name: 'egress-firewall',
    placeholder: 'existing|new',
    default: 'existing',
    group: 'Migration',
    help: 'Put rules into the egress firewalls given with --merge, or print new ones, too: only for namespaces that have none.',
    parse: oneOf(['existing', 'new']),
  }),

  merge: option({
    name: 'merge',
    placeholder: 'FILE',
    repeatable: 'words',
    group: 'Modes',
    flagOnly: true,
    help: 'An EgressFirewall or EgressNetworkPolicy that exists, or several: there can be one in a namespace, so the rules are put into it.',
    parse: parseFile,
  }),
  unmerge: option({
    name: 'unmerge',
    placeholder: 'FILE',
    repeatable: 'words',
    group: 'Modes',
    flagOnly: true,
    help: 'For after the migration: print these again without the rules that --merge puts in, and nothing else.',
    parse: parseFile,
  }),
  lint: option({
    name: 'lint',
    placeholder: 'FILE|-',
    repeatable: 'words',
    group: 'Modes',
    flagOnly: true,
    help: 'Print nothing but the mistakes of these manifests, or squid.conf, each with its fix; exit 1 where there are any. More files may follow.',
    parse: parseFile,
  }),
} as const;

/** All that manifests are made from. */
export type Inventory = ConfigOf<typeof MANIFEST_OPTIONS>;

/** A label of RFC 1123, as names of namespaces and Services are. */
function parseLabel(text: string): Parsed<string> {
  return /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(text)
    ? { value: text }
    : { problem: 'must be a name of at most 63 lower-case letters, digits and dashes' };
}

/** A label of RFC 1035, as names of Services are, with room for what is put behind it. */
function parseServiceName(text: string): Parsed<string> {
  return /^[a-z](?:[a-z0-9-]{0,48}[a-z0-9])?$/.test(text)
    ? { value: text }
    : {
        problem:
          'must be a name of at most 50 lower-case letters, digits and dashes that begins with a letter',
      };
}

/** A subdomain of RFC 1123, as names of Secrets are. */
function parseSecretName(text: string): Parsed<string> {
  return text.length <= 253 && /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/.test(text)
    ? { value: text }
    : { problem: 'must be the name of a Secret: lower-case letters, digits, dashes and dots' };
}

function parseImage(text: string): Parsed<string> {
  return /^[A-Za-z0-9][A-Za-z0-9._:@/-]{0,254}$/.test(text)
    ? { value: text }
    : { problem: 'is not an image: write REGISTRY/NAME:TAG, or REGISTRY/NAME@sha256:DIGEST' };
}

function parseReplicas(text: string): Parsed<number> {
  const parsed = parseCount(text);
  return parsed.value === undefined || parsed.value === 0
    ? { problem: 'must be a whole number from 1 to 999999999' }
    : parsed;
}

function parseKind(text: string): Parsed<ProxyKind> {
  const value = PROXY_KINDS.find((kind) => kind === text);
  if (value !== undefined) return { value };
  const meant = nearest(text, PROXY_KINDS);
  return {
    problem: `is not a kind of the proxy's: ${meant === undefined ? `write ${PROXY_KINDS.join(', ')}` : `did you mean ${meant}?`}`,
  };
}

/** A range in the form that Kubernetes wants: always with a prefix. */
function parseCidr(text: string): Parsed<string> {
  const range = parseRange(text);
  return range === undefined
    ? { problem: 'is not a range: write NETWORK/PREFIX with no host bits set, or one address' }
    : { value: `${range.network.toString()}/${range.prefix}` };
}

/** Addresses, or the routers of the proxy's own cluster: its policies see their pods, and never their addresses. */
function parseRouter(text: string): Parsed<string> {
  return text === 'cluster' ? { value: text } : parseCidr(text);
}

function parseProxy(text: string): Parsed<Target> {
  const target = parseTarget(text);
  if (text.includes('://') || text.includes('@'))
    return { problem: 'must be HOST:PORT alone; scheme and credentials are added' };
  return 'problem' in target
    ? { problem: 'is not HOST:PORT: write a name or an address, and a port' }
    : { value: target };
}

function parseDomain(text: string): Parsed<string> {
  const host = parseHost(text.replace(/^\*?\./, ''));
  return 'problem' in host || isIPv4(host.host)
    ? { problem: 'is not a domain: write it like apps.target.example' }
    : { value: host.host };
}

function parseFile(text: string): Parsed<string> {
  return text === '' ? { problem: 'is empty: write the path of a file' } : { value: text };
}
