import { formatBytes } from './sizes.js';

/** One line of spliceway's JSON log. */
export type LogRecord = Readonly<Record<string, unknown>>;

/** A tunnel, or a refused request for one, as spliceway's log tells it. Fields are absent when it does not say. */
export interface LoggedTunnel {
  readonly id: string;
  readonly user: string;
  readonly target: string;
  readonly decision: string;
  /** Why it was refused, or why its target could not be reached. */
  readonly reason: string | undefined;
  readonly address: string | undefined;
  readonly bytesUp: number | undefined;
  readonly bytesDown: number | undefined;
  readonly firstByteMs: number | undefined;
  readonly durationMs: number | undefined;
  /** Who ended it and how, `client (client_fin)`. */
  readonly ended: string | undefined;
  /** The phantom of `nc -z`: a tunnel with a TLS handshake and nothing else. */
  readonly probe: boolean;
  /** Whether it has been accounted: a refusal at once, a tunnel when it has closed. */
  readonly closed: boolean;
}

/** The JSON objects in a log, line by line; whatever is no JSON object is passed over. */
export function parseRecords(log: string): readonly LogRecord[] {
  return log.split('\n').flatMap((line) => {
    if (!line.startsWith('{')) return [];
    try {
      const record: unknown = JSON.parse(line);
      return isRecord(record) ? [record] : [];
    } catch {
      return [];
    }
  });
}

/** The tunnels in spliceway's log, in the order of their decisions. */
export function readTunnels(log: string): readonly LoggedTunnel[] {
  const records = parseRecords(log);
  const closes = new Map(
    records.filter((record) => record.event === 'close').map((record) => [record.tunnel, record]),
  );
  return records
    .filter((record) => record.event === 'decision')
    .map((decision) => {
      const close = closes.get(decision.tunnel) ?? {};
      const refused = decision.decision !== 'allowed';
      return {
        id: text(decision.tunnel),
        user: text(decision.user),
        target: text(decision.target),
        decision: text(decision.decision),
        reason: optionalText(refused ? decision.reason : close.reason),
        address: optionalText(close.address),
        bytesUp: optionalNumber(close.bytesUp),
        bytesDown: optionalNumber(close.bytesDown),
        firstByteMs: optionalNumber(close.firstByteMs),
        durationMs: optionalNumber(close.durationMs),
        ended: close.endedBy === undefined ? undefined : `${text(close.endedBy)} (${text(close.cause)})`,
        probe: close.probe === true,
        closed: refused || closes.has(decision.tunnel),
      };
    });
}

/** The tunnels as a table for a terminal, one line each under a line of headings. */
export function renderTunnels(tunnels: readonly LoggedTunnel[]): readonly string[] {
  const rows = tunnels.map((tunnel) => [
    tunnel.id,
    describeKind(tunnel),
    tunnel.target,
    tunnel.bytesUp === undefined ? '-' : formatBytes(tunnel.bytesUp),
    tunnel.bytesDown === undefined ? '-' : formatBytes(tunnel.bytesDown),
    tunnel.firstByteMs === undefined ? '-' : `${Math.round(tunnel.firstByteMs)} ms`,
    tunnel.durationMs === undefined ? '-' : `${Math.round(tunnel.durationMs)} ms`,
    tunnel.reason ?? tunnel.ended ?? '-',
  ]);
  const table = [['tunnel', 'what', 'target', 'up', 'down', 'first byte', 'duration', 'ended by'], ...rows];
  const widths =
    table[0]?.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0))) ?? [];
  return table.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

/** A value of a record as text; an absent one as `-`. */
export function text(value: unknown): string {
  return optionalText(value) ?? '-';
}

function describeKind(tunnel: LoggedTunnel): string {
  if (tunnel.decision !== 'allowed') return 'refused';
  if (!tunnel.closed) return 'still open';
  if (tunnel.reason !== undefined) return 'failed';
  return tunnel.probe ? 'nc -z probe' : 'rsync';
}

function isRecord(value: unknown): value is LogRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function optionalText(value: unknown): string | undefined {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined;
}

function optionalNumber(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined;
}
