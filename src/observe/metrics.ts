import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { type DialTimings, REASON_TOKENS, REASONS } from '../reasons.js';
import { METRICS, type MetricName, type MetricRow } from './metric-rows.js';
import {
  type ForwardedBytes,
  type ForwardedRequest,
  isProbe,
  type LiveBytes,
  type TunnelRecord,
} from './tunnel-record.js';

/** So many parents that nobody configured by name, but a PAC file or the environment told, have a label of their own. */
const MAX_FOUND_PARENTS = 50;

/** Counts what happens. */
export interface Metrics {
  /** The text of `/metrics`. */
  render(): Promise<string>;
  readonly contentType: string;
  connectionAccepted(): void;
  connectionDropped(why: 'silent' | 'incomplete' | 'limit'): void;
  logRecordsDropped(records: number): void;
  uncaughtError(): void;
  /** Sets the `draining` gauge. */
  draining(): void;
  /** A tunnel is open: its dial is over, its request is answered, and its bytes count from now on. */
  tunnelOpened(record: TunnelRecord): void;
  /**
   * A connection to an origin is open: its bytes count from now on.
   *
   * @returns to be called when they no longer move
   */
  forwarding(bytes: ForwardedBytes): () => void;
  /** Accounts a request at its end. To be called exactly once for each. */
  account(record: TunnelRecord): void;
}

/** What only the running server knows. */
export interface MetricsOptions {
  readonly version: string;
  readonly engine: string;
  readonly absentEngines: readonly { readonly name: string; readonly why: string }[];
  /** Every cause that a tunnel can end with. */
  readonly causes: readonly string[];
  /** Every cause that a forwarded answer can end with. */
  readonly exchangeCauses: readonly string[];
  /** The protocols that connections may switch to. */
  readonly upgrades: readonly string[];
  /** The parents that are configured by name; default none. */
  readonly parents?: readonly string[];
  /** What the engine holds and has done since it began; absent where it has nothing to tell. */
  readonly relayTotals?: (() => EngineTotals) | undefined;
}

/** What an engine that speaks to the kernel tells of itself. */
export interface EngineTotals {
  readonly splicedBytes: number;
  readonly copiedBytes: number;
  readonly pipesInUse: number;
  readonly pipesPooled: number;
  readonly fallbacks: Readonly<Record<string, number>>;
}

/** A registry with the rows of {@link METRICS} and the default process and Node.js metrics. */
export function createMetrics(options: MetricsOptions): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const live = new Map<LiveBytes, string>();
  const ended: Record<string, { up: number; down: number }> = { [options.engine]: { up: 0, down: 0 } };

  const counter = (name: MetricName, collect?: (this: Counter) => void) =>
    new Counter({
      ...declaration(name),
      registers: [registry],
      ...(collect === undefined ? {} : { collect }),
    });
  const gauge = (name: MetricName, collect?: (this: Gauge) => void) =>
    new Gauge({ ...declaration(name), registers: [registry], ...(collect === undefined ? {} : { collect }) });
  const histogram = (name: MetricName) =>
    new Histogram({
      ...declaration(name),
      buckets: [...((METRICS[name] as MetricRow).buckets ?? [])],
      registers: [registry],
    });

  gauge('spliceway_build_info').set({ version: options.version, node_version: process.version }, 1);
  const engines = gauge('spliceway_relay_engine_info');
  engines.set({ engine: options.engine, state: 'active', why: '' }, 1);
  for (const { name, why } of options.absentEngines) engines.set({ engine: name, state: 'absent', why }, 1);
  const draining = gauge('spliceway_draining');
  draining.set(0);
  const connections = counter('spliceway_connections_total');
  const dropped = counter('spliceway_connections_dropped_total');
  const requests = counter('spliceway_requests_total');
  const tunnels = counter('spliceway_tunnels_total');
  const active = gauge('spliceway_tunnels_active');
  const closes = counter('spliceway_tunnel_closes_total');
  const probes = counter('spliceway_tunnel_probes_total');
  const duration = histogram('spliceway_tunnel_duration_seconds');
  const firstByte = histogram('spliceway_tunnel_first_byte_seconds');
  const forwardedRequests = counter('spliceway_forwarded_requests_total');
  const forwardedActive = gauge('spliceway_forwarded_requests_active');
  const forwardedDuration = histogram('spliceway_forwarded_duration_seconds');
  const forwardedEnds = counter('spliceway_forwarded_ends_total');
  const upgrades = counter('spliceway_upgrades_total');
  const forwardedLive = new Set<ForwardedBytes>();
  const forwardedEnded = { up: 0, down: 0 };
  const dialDuration = histogram('spliceway_dial_duration_seconds');
  const dialFailures = counter('spliceway_dial_failures_total');
  const parentDials = counter('spliceway_parent_dials_total');
  const dnsDuration = histogram('spliceway_dns_duration_seconds');
  const dnsFailures = counter('spliceway_dns_failures_total');
  const authenticationFailures = counter('spliceway_authentication_failures_total');
  const policyRefusals = counter('spliceway_policy_refusals_total');
  const recordsDropped = counter('spliceway_log_records_dropped_total');
  const uncaught = counter('spliceway_uncaught_errors_total');
  counter('spliceway_tunnel_bytes_total', function collect() {
    this.reset();
    for (const [engine, { up, down }] of Object.entries(ended)) {
      this.inc({ direction: 'up', engine }, up);
      this.inc({ direction: 'down', engine }, down);
    }
    for (const [{ bytesUp, bytesDown }, engine] of live) {
      this.inc({ direction: 'up', engine }, bytesUp);
      this.inc({ direction: 'down', engine }, bytesDown);
    }
  });

  counter('spliceway_forwarded_bytes_total', function collect() {
    this.reset();
    const live = [...forwardedLive];
    this.inc(
      { direction: 'up' },
      live.reduce((sum, { bytesUp }) => sum + bytesUp, forwardedEnded.up),
    );
    this.inc(
      { direction: 'down' },
      live.reduce((sum, { bytesDown }) => sum + bytesDown, forwardedEnded.down),
    );
  });

  const { relayTotals } = options;
  if (relayTotals !== undefined) {
    counter('spliceway_relay_path_bytes_total', function collect() {
      const { splicedBytes, copiedBytes } = relayTotals();
      this.reset();
      this.inc({ path: 'splice' }, splicedBytes);
      this.inc({ path: 'copy' }, copiedBytes);
    });
    gauge('spliceway_relay_pipes', function collect() {
      const { pipesInUse, pipesPooled } = relayTotals();
      this.set({ state: 'in_use' }, pipesInUse);
      this.set({ state: 'pooled' }, pipesPooled);
    });
    counter('spliceway_relay_fallbacks_total', function collect() {
      this.reset();
      for (const [cause, count] of Object.entries(relayTotals().fallbacks)) this.inc({ cause }, count);
    });
  }

  // A series that exists from the start lets rate() and alerts see the first event.
  tunnels.inc({ engine: options.engine }, 0);
  active.set({ engine: options.engine }, 0);
  for (const cause of options.causes) closes.inc({ cause }, 0);
  for (const why of ['silent', 'incomplete', 'limit']) dropped.inc({ why }, 0);
  for (const cause of options.exchangeCauses) forwardedEnds.inc({ cause }, 0);
  for (const token of options.upgrades)
    for (const result of ['switched', 'declined', 'failed']) upgrades.inc({ token, result }, 0);
  requests.inc({ code: 200, reason: 'established' }, 0);
  requests.inc({ code: 101, reason: 'upgraded' }, 0);
  for (const code of CODE_CLASSES) {
    requests.inc({ code, reason: 'forwarded' }, 0);
    for (const method of [...METHODS, 'other']) forwardedRequests.inc({ method, code }, 0);
  }
  for (const reason of REASON_TOKENS) {
    requests.inc({ code: REASONS[reason].status, reason }, 0);
    counterOf(reason)?.inc({ reason }, 0);
  }

  /** The counter that a refusal goes to besides that of all requests. */
  function counterOf(reason: string): Counter | undefined {
    if (reason.startsWith('dns_')) return dnsFailures;
    if (reason.startsWith('credentials_')) return authenticationFailures;
    const fault = REASONS[reason as keyof typeof REASONS]?.fault;
    if (fault === 'policy') return policyRefusals;
    if (NOT_OF_THE_DIAL.has(reason)) return undefined;
    return fault === 'upstream' || reason === 'resources_exhausted' ? dialFailures : undefined;
  }

  const upgraded = (forwarded: ForwardedRequest | undefined, result: 'switched' | 'declined' | 'failed') => {
    if (forwarded?.upgrade !== undefined) upgrades.inc({ token: forwarded.upgrade, result });
  };

  const parentNames = new Set(options.parents);
  for (const parent of parentNames) parentDials.inc({ parent, result: 'opened' }, 0);
  const mostParents = parentNames.size + MAX_FOUND_PARENTS;
  const parentLabel = (name: string) => {
    if (parentNames.size < mostParents) parentNames.add(name);
    return parentNames.has(name) ? name : 'other';
  };

  const dialled = ({ dnsMs, connectMs, parents = [] }: DialTimings) => {
    for (const { name, result } of parents) parentDials.inc({ parent: parentLabel(name), result });
    if (dnsMs !== undefined) dnsDuration.observe(dnsMs / 1000);
    if (connectMs !== undefined) dialDuration.observe(connectMs / 1000);
  };

  return {
    render: () => registry.metrics(),
    contentType: registry.contentType,
    connectionAccepted: () => connections.inc(),
    connectionDropped: (why) => dropped.inc({ why }),
    logRecordsDropped: (records) => recordsDropped.inc(records),
    uncaughtError: () => uncaught.inc(),
    draining: () => draining.set(1),
    tunnelOpened({ relayed, forwarded, timings }) {
      if (relayed === undefined) return;
      const { engine, bytes } = relayed;
      dialled(timings ?? {});
      live.set(bytes, engine);
      if (forwarded === undefined) requests.inc({ code: 200, reason: 'established' });
      else requests.inc({ code: 101, reason: 'upgraded' });
      upgraded(forwarded, 'switched');
      tunnels.inc({ engine });
      active.inc({ engine });
    },
    forwarding(bytes) {
      forwardedActive.inc();
      forwardedLive.add(bytes);
      return () => {
        if (!forwardedLive.delete(bytes)) return;
        forwardedActive.dec();
        forwardedEnded.up += bytes.bytesUp;
        forwardedEnded.down += bytes.bytesDown;
      };
    },
    account({ refusal, relayed, forwarded, timings, address, allowed }) {
      if (relayed === undefined) {
        dialled(timings ?? {});
        if (forwarded?.answered !== undefined && forwarded.ended !== undefined) {
          const { answered, ended } = forwarded;
          const code = CODE_CLASSES[Math.floor(answered.status / 100) - 2] ?? 'other';
          requests.inc({ code, reason: 'forwarded' });
          forwardedRequests.inc({ method: methodLabel(forwarded.method), code });
          forwardedEnds.inc({ cause: ended.cause });
          forwardedDuration.observe((ended.atMs - forwarded.startedMs) / 1000);
          upgraded(forwarded, 'declined');
          return;
        }
        if (allowed) upgraded(forwarded, 'failed');
        const { reason, status } = refusal ?? { reason: 'proxy_internal_error', status: 500 };
        requests.inc({ code: status, reason });
        const counter = counterOf(reason);
        // Behind a dial that did not fail, it is not the dial's failure.
        if (counter !== dialFailures || address === undefined) counter?.inc({ reason });
        return;
      }
      const { engine, bytes, openedMs } = relayed;
      live.delete(bytes);
      const before = ended[engine] ?? { up: 0, down: 0 };
      ended[engine] = { up: before.up + bytes.bytesUp, down: before.down + bytes.bytesDown };
      active.dec({ engine });
      closes.inc({ cause: relayed.ended?.cause ?? 'aborted' });
      if (bytes.firstByteAtMs !== undefined) firstByte.observe((bytes.firstByteAtMs - openedMs) / 1000);
      if (isProbe(relayed)) probes.inc();
      else duration.observe(((relayed.ended?.atMs ?? openedMs) - openedMs) / 1000);
    },
  };
}

/** What an upstream, or the way to it, does wrong without the dial having failed. */
const NOT_OF_THE_DIAL: ReadonlySet<string> = new Set([
  'proxy_loop_detected',
  'http_protocol_error',
  'http_response_timeout',
]);

/** Origins may make up statuses. */
const CODE_CLASSES = ['2xx', '3xx', '4xx', '5xx', 'other'] as const;

const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

/** Clients may make up methods; labels are a closed set. */
function methodLabel(method: string): string {
  return METHODS.has(method) ? method : 'other';
}

function declaration(name: MetricName): { name: string; help: string; labelNames: string[] } {
  const { help, labels } = METRICS[name];
  return { name, help, labelNames: [...labels] };
}
