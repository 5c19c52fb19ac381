import { constants, fstatSync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isatty } from 'node:tty';
import { type Logger, pino } from 'pino';
import { prettyFactory } from 'pino-pretty';
import { type DialTimings, printable, REASONS, type Reason } from '../reasons.js';
import { formatAuthority } from '../target.js';
import { isProbe, type TunnelRecord } from './tunnel-record.js';

/** What `--log-level` takes, from the most to the least that is said. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

/** A {@link LOG_LEVELS} member. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/** How the log is written. */
export interface LogOptions {
  readonly logLevel: LogLevel;
  /** `pretty` for people; `json` for programs: one object a line. */
  readonly logFormat: 'json' | 'pretty';
  /** Told how many records were lost because nobody reads the log. */
  readonly onDropped: (records: number) => void;
}

/** The log, and a way to have it written out before the process ends. */
export interface Log {
  readonly logger: Logger;
  /** Waits until everything is written, but no longer than {@link CLOSE_TIMEOUT_MS}; nothing may be logged afterwards. */
  close(): Promise<void>;
}

/** Log lines held back at most while standard error is stalled, in bytes; beyond that they are dropped, not tunnels. */
const MAX_HELD_BYTES = 16 * 1024 * 1024;

const CLOSE_TIMEOUT_MS = 1000;

/** A log on standard error. Who reads it, or does not, never holds up the process. */
export function createLog({ logLevel, logFormat, onDropped }: LogOptions): Log {
  const stderr = gathered(openStandardError(onDropped));
  const pretty = prettyFactory({
    singleLine: true,
    translateTime: 'SYS:HH:MM:ss.l',
    colorize: process.stderr.isTTY,
  });
  const logger = pino(
    {
      level: logLevel,
      base: null,
      timestamp: isoTime,
      formatters: { level: (label: string) => ({ level: label }) },
    },
    logFormat === 'json' ? stderr : { write: (line: string) => stderr.write(pretty(line)) },
  );
  return { logger, close: stderr.close };
}

let second = { at: 0, text: '' };

/** pino's `isoTime`, of which all but the milliseconds is made once a second. */
function isoTime(): string {
  const nowMs = Date.now();
  const at = Math.floor(nowMs / 1000);
  if (at !== second.at) second = { at, text: `,"time":"${new Date(at * 1000).toISOString().slice(0, 20)}` };
  return `${second.text}${String(nowMs - at * 1000).padStart(3, '0')}Z"`;
}

interface StandardError {
  readonly write: (text: string) => void;
  readonly close: Log['close'];
}

/** How long a record that follows another may wait for more, in milliseconds: a write costs more than a record does. */
const GATHER_MS = 10;
/** So many characters do not wait. */
const GATHER_MOST = 64 * 1024;

function gathered({ write, close }: StandardError): StandardError {
  let held = '';
  let timer: NodeJS.Timeout | undefined;
  const flush = () => {
    if (held !== '') write(held);
    held = '';
  };
  const onTimer = () => {
    timer = held === '' ? undefined : setTimeout(onTimer, GATHER_MS);
    flush();
  };
  return {
    write(text) {
      held += text;
      if (timer === undefined || held.length >= GATHER_MOST) flush();
      timer ??= setTimeout(onTimer, GATHER_MS);
    },
    close() {
      flush();
      clearTimeout(timer);
      return close();
    },
  };
}

/** Each kind of file needs its own way of not waiting for whoever reads it. */
function openStandardError(onDropped: LogOptions['onDropped']): StandardError {
  const { stderr } = process;
  const kind = fstatSync(2);
  if (kind.isFIFO() || kind.isSocket()) {
    // libuv polls these, so that neither the event loop nor a thread ever waits in write(2).
    stderr.on('error', () => {});
    return {
      write(text) {
        if (stderr.writableLength > MAX_HELD_BYTES) onDropped(recordsIn(text));
        else stderr.write(text);
      },
      async close() {
        await Promise.race([new Promise((resolve) => stderr.write('', resolve)), sleep(CLOSE_TIMEOUT_MS)]);
      },
    };
  }
  const dest = isatty(2) ? reopenTerminal() : 2;
  const destination = pino.destination({ dest, sync: false, maxLength: MAX_HELD_BYTES });
  // A full disk: what is held back is written when there is room again.
  destination.on('error', () => {});
  destination.on('drop', (text: unknown) => onDropped(recordsIn(String(text))));
  return {
    write: (text) => destination.write(text),
    async close() {
      const closed = new Promise((resolve) => destination.once('close', resolve));
      destination.end();
      await Promise.race([closed, sleep(CLOSE_TIMEOUT_MS)]);
      // Otherwise pino would try again, for ever, when the process exits.
      destination.destroy();
    },
  };
}

/** Each record is a line. */
function recordsIn(text: string): number {
  return text.split('\n').length - 1;
}

/** A descriptor of our own that does not block: Ctrl-S stalls a terminal, and would stall a thread that nothing can end. */
function reopenTerminal(): number {
  try {
    return openSync('/dev/fd/2', constants.O_WRONLY | constants.O_NOCTTY | constants.O_NONBLOCK);
  } catch {
    return 2; // A terminal of another user, as after su(1).
  }
}

/** The first record of a request: what was decided. pino leaves out what is undefined. */
export function logDecision(logger: Logger, record: TunnelRecord): void {
  const { refusal, userAgent } = record;
  const level = refusal === undefined ? 'info' : levelOf(refusal.reason);
  // What nobody is told is not put into words either: that costs as much as a system call or two.
  if (!logger.isLevelEnabled(level)) return;
  const decided = {
    event: 'decision',
    tunnel: record.tunnelId,
    client: clientOf(record),
    user: userOf(record),
    target: targetOf(record),
    method: record.forwarded?.method,
    upgrade: record.forwarded?.upgrade,
    decision: refusal === undefined ? 'allowed' : 'refused',
    rule: record.rule,
    userAgent: userAgent === undefined ? undefined : printable(userAgent),
    reason: refusal?.reason,
    code: refusal?.status,
    remedy: refusal?.remedy,
  };
  logger[level](decided, refusal === undefined ? 'allowed' : `refused: ${refusal.message}`);
}

/** The second record of a request that the policy allowed: how it ended, or why there is no tunnel. */
export function logClose(logger: Logger, record: TunnelRecord): void {
  const { relayed, refusal, timings, forwarded } = record;
  const ended = relayed?.ended ?? forwarded?.ended;
  const level = ended === undefined ? levelOf(refusal?.reason ?? 'proxy_internal_error') : 'info';
  if (!logger.isLevelEnabled(level)) return;
  const bytes = ended && (relayed?.bytes ?? forwarded?.ended?.bytes);
  const openedMs = relayed?.openedMs ?? forwarded?.startedMs ?? 0;
  const firstByteAtMs = relayed === undefined ? forwarded?.answered?.atMs : relayed.bytes.firstByteAtMs;
  const probe = relayed !== undefined && isProbe(relayed);
  const fields = {
    event: 'close',
    tunnel: record.tunnelId,
    client: clientOf(record),
    user: userOf(record),
    target: targetOf(record),
    address: addressOf(record),
    parent: timings?.parents?.find(({ result }) => result === 'opened')?.name,
    parentsFailed: parentsFailed(timings),
    dnsMs: rounded(timings?.dnsMs),
    connectMs: rounded(timings?.connectMs),
    method: forwarded?.method,
    upgrade: forwarded?.upgrade,
    status: forwarded?.answered?.status,
    engine: ended && relayed?.engine,
    bytesUp: bytes?.bytesUp,
    bytesDown: bytes?.bytesDown,
    durationMs: ended && rounded(ended.atMs - openedMs),
    firstByteMs: ended && firstByteAtMs && rounded(firstByteAtMs - openedMs),
    endedBy: ended && endedBy(ended.cause),
    cause: ended?.cause,
    probe: probe || undefined,
    reason: refusal?.reason,
    code: refusal?.status,
    remedy: refusal?.remedy,
  };
  const how = probe ? 'probe' : 'closed';
  logger[level](fields, ended === undefined ? `failed: ${refusal?.message ?? 'no end was reported'}` : how);
}

/** The parents that led nowhere, each once. Retries may have tried them often. */
function parentsFailed(timings: DialTimings | undefined): readonly string[] | undefined {
  const failed = (timings?.parents ?? []).filter(({ result }) => result !== 'opened');
  return failed.length === 0
    ? undefined
    : [...new Set(failed.map(({ name, result }) => `${printable(name)} ${result}`))];
}

function clientOf({ clientAddress, clientPort }: TunnelRecord): string {
  return formatAuthority(clientAddress, clientPort);
}

/** The address dialled, with the target's port. */
function addressOf({ address, target }: TunnelRecord): string | undefined {
  return address === undefined || target === undefined ? undefined : formatAuthority(address, target.port);
}

function userOf({ user }: TunnelRecord): string | undefined {
  return user === undefined ? undefined : printable(user);
}

function targetOf({ target }: TunnelRecord): string | undefined {
  return target === undefined ? undefined : formatAuthority(target.host, target.port);
}

function endedBy(cause: string): string {
  if (cause.startsWith('client_')) return 'client';
  return /^(?:upstream_|http_|complete$)/.test(cause) ? 'upstream' : 'proxy';
}

/** A refusal is the client's business, a failure the operator's. */
function levelOf(reason: Reason): 'info' | 'warn' | 'error' {
  if (reason === 'proxy_internal_error') return 'error';
  return ['upstream', 'proxy'].includes(REASONS[reason].fault) ? 'warn' : 'info';
}

/** To tenths of a millisecond. */
function rounded(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.round(ms * 10) / 10;
}
