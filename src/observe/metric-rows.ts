const LATENCY_BUCKETS = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const DURATION_BUCKETS = [0.1, 1, 10, 60, 600, 3600, 14_400, 43_200, 86_400, 604_800];

/** Every metric of spliceway's own. Label sets are closed: no host, no client, nothing that a client can make up. */
export const METRICS = {
  spliceway_build_info: row('gauge', 'Always 1; the labels tell what runs.', ['version', 'node_version']),
  spliceway_relay_engine_info: row(
    'gauge',
    'Relay engines: state is active or absent; why says why it is absent.',
    ['engine', 'state', 'why'],
  ),
  spliceway_draining: row('gauge', '1 while the process drains, otherwise 0.', []),
  spliceway_connections_total: row('counter', 'TCP connections accepted.', []),
  spliceway_connections_dropped_total: row(
    'counter',
    'TCP connections closed without a reply: silent ones sent nothing, incomplete ones no whole request, limit ones were too many.',
    ['why'],
  ),
  spliceway_requests_total: row(
    'counter',
    'Requests answered, by HTTP status code and reason; reason is established for CONNECT, upgraded for a switch of protocols, forwarded (with the class of the code) for other requests.',
    ['code', 'reason'],
  ),
  spliceway_tunnels_total: row('counter', 'Tunnels opened.', ['engine']),
  spliceway_tunnels_active: row('gauge', 'Tunnels open now.', ['engine']),
  spliceway_tunnel_bytes_total: row(
    'counter',
    'Bytes relayed, those of open tunnels included; up is client to upstream.',
    ['direction', 'engine'],
  ),
  spliceway_relay_path_bytes_total: row(
    'counter',
    'Bytes that the splice engine moved, by path: splice from kernel to kernel, copy through a buffer.',
    ['path'],
  ),
  spliceway_relay_pipes: row(
    'gauge',
    'Pipes of the splice engine: in_use hold bytes, pooled wait for the next.',
    ['state'],
  ),
  spliceway_relay_fallbacks_total: row(
    'counter',
    'How often the splice engine had to copy what it could have spliced, by cause; one for each second and thread without a pipe.',
    ['cause'],
  ),
  spliceway_forwarded_requests_total: row(
    'counter',
    'Requests for http:// URLs that their origin answered, by method and class of the status code.',
    ['method', 'code'],
  ),
  spliceway_forwarded_requests_active: row('gauge', 'Forwarded requests at their origins now.', []),
  spliceway_forwarded_bytes_total: row(
    'counter',
    'Bytes of forwarded requests on the connections to their origins, heads and what is under way included; up is client to origin.',
    ['direction'],
  ),
  spliceway_forwarded_duration_seconds: row(
    'histogram',
    'From a request for an http:// URL to the end of its answer.',
    [],
    DURATION_BUCKETS,
  ),
  spliceway_forwarded_ends_total: row(
    'counter',
    'Forwarded answers, by how they ended: complete, or what cut them short.',
    ['cause'],
  ),
  spliceway_upgrades_total: row(
    'counter',
    'Offers to switch protocols that were forwarded, by protocol: switched made a tunnel, declined got an ordinary answer, failed none.',
    ['token', 'result'],
  ),
  spliceway_tunnel_closes_total: row('counter', 'Tunnels ended, by cause.', ['cause']),
  spliceway_tunnel_probes_total: row(
    'counter',
    'Tunnels that were only a TLS handshake, such as those of nc -z through stunnel.',
    [],
  ),
  spliceway_tunnel_duration_seconds: row(
    'histogram',
    'How long tunnels lasted, probes left out.',
    [],
    DURATION_BUCKETS,
  ),
  spliceway_tunnel_first_byte_seconds: row(
    'histogram',
    'From the open tunnel to the first byte of the upstream.',
    [],
    LATENCY_BUCKETS,
  ),
  spliceway_dial_duration_seconds: row(
    'histogram',
    'Connecting to the upstream, DNS left out.',
    [],
    LATENCY_BUCKETS,
  ),
  spliceway_dial_failures_total: row('counter', 'Dials that failed, by reason.', ['reason']),
  spliceway_parent_dials_total: row(
    'counter',
    'Tries to go through a parent proxy; result is opened or the reason why not. Parents of a PAC file or the environment beyond the first 50 are called other.',
    ['parent', 'result'],
  ),
  spliceway_dns_duration_seconds: row(
    'histogram',
    'Resolving the name of the target, or of a parent.',
    [],
    LATENCY_BUCKETS,
  ),
  spliceway_dns_failures_total: row('counter', 'Names that did not resolve, by reason.', ['reason']),
  spliceway_authentication_failures_total: row(
    'counter',
    'Requests without acceptable credentials, by reason.',
    ['reason'],
  ),
  spliceway_policy_refusals_total: row('counter', 'Requests that the policy refused, by reason.', ['reason']),
  spliceway_log_records_dropped_total: row(
    'counter',
    'Log records lost because nobody reads standard error, or its disk is full.',
    [],
  ),
  spliceway_uncaught_errors_total: row(
    'counter',
    'Errors that nothing caught; each is a bug worth reporting.',
    [],
  ),
} as const satisfies Record<string, MetricRow>;

/** The name of a {@link METRICS} row. */
export type MetricName = keyof typeof METRICS;

/** One metric as it is declared. */
export interface MetricRow {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
  readonly buckets?: readonly number[];
}

function row(
  type: MetricRow['type'],
  help: string,
  labels: readonly string[],
  buckets?: readonly number[],
): MetricRow {
  return { type, help, labels, ...(buckets === undefined ? {} : { buckets }) };
}
