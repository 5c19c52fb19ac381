import type { Socket } from 'node:net';
import type { StopSignal } from '../stop.js';
import { carrierOf, type Leftover, readLeftover } from './descriptor.js';
import { HandshakeOnly } from './handshake-only.js';
import type { Relay, RelayCause, RelayEnd, RelayEngine, RelayOptions, RelayTunnel } from './relay.js';
import { resetAfterDelivery, resetNow } from './reset.js';

/** The reference engine: Node streams, on every platform, also for a leg inside TLS. */
export const streamEngine: RelayEngine = {
  name: 'stream',
  relay: (tunnel, options, signal) => new StreamRelay(tunnel, options, signal),
};

type Side = 'client' | 'upstream';

const OTHER = { client: 'upstream', upstream: 'client' } as const satisfies Record<Side, Side>;

/** How often a side that has ended its half is asked whether it has reset the connection since. */
const RESET_PROBE_MS = 1000;
/** The longest that a timer of Node's waits; a longer one fires at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** One tunnel from its first byte to the close of both sockets. */
class StreamRelay implements Relay {
  readonly engine = 'stream';
  readonly traffic = {
    bytesUp: 0,
    bytesDown: 0,
    firstByteAtMs: undefined as number | undefined, // otherwise it is undefined for ever to the compiler
    handshakeOnly: false,
  };
  readonly end: Promise<RelayEnd>;
  readonly #tunnel: RelayTunnel;
  readonly #options: RelayOptions;
  readonly #signal: StopSignal;
  #resolve: (end: RelayEnd) => void = () => {};
  /** Set once, by the event that made the tunnel end; the first end of file is kept apart, since a reset may follow it. */
  #cause: RelayCause | undefined;
  #firstFin: RelayCause | undefined;
  #lastActivityMs = performance.now();
  #timer: NodeJS.Timeout | undefined;
  readonly #handshake = new HandshakeOnly();
  readonly #open = new Set<Side>(['client', 'upstream']);
  /** What a write to a side calls. Its error comes while the socket is still open, so that its last words can be read. */
  readonly #written = {
    client: (error?: Error | null) => error && this.#failed('client', error),
    upstream: (error?: Error | null) => error && this.#failed('upstream', error),
  };

  constructor(tunnel: RelayTunnel, options: RelayOptions, signal: StopSignal) {
    this.#tunnel = tunnel;
    this.#options = options;
    this.#signal = signal;
    this.end = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    const { client, upstream, early, reply } = tunnel;
    for (const socket of [client, upstream]) {
      socket.setNoDelay(true);
      if (options.keepaliveMs > 0) socket.setKeepAlive(true, options.keepaliveMs);
    }
    signal.addEventListener('abort', this.#onAbort);
    this.#arm();
    // Before anything that may be in the sockets' own buffers.
    if (reply.length > 0) client.write(reply, this.#written.client);
    this.#count('client', early);
    if (early.length > 0) upstream.write(early, this.#written.upstream);
    this.#join('client');
    this.#join('upstream');
    if (signal.aborted) this.#onAbort();
  }

  /** Moves what comes from one side: bytes with backpressure, then the end of file or the reset. */
  #join(side: Side): void {
    const socket = this.#tunnel[side];
    const sink = this.#tunnel[OTHER[side]];
    const written = this.#written[OTHER[side]];
    socket.on('error', (error) => this.#failed(side, error));
    socket.once('close', () => {
      // A socket that closed without both its halves ending took the tunnel with it.
      if (!socket.readableEnded || !socket.writableFinished) this.#failed(side);
      this.#closed(side);
    });
    if (socket.destroyed) {
      this.#failed(side, socket.errored);
      this.#closed(side);
      return;
    }
    socket.on('data', (chunk: Buffer) => {
      this.#lastActivityMs = performance.now();
      this.#count(side, chunk);
      if (!sink.write(chunk, written)) socket.pause();
    });
    // Whoever read from it before may have paused it.
    socket.resume();
    sink.on('drain', () => {
      this.#lastActivityMs = performance.now();
      socket.resume();
    });
    if (socket.readableEnded) this.#ended(side);
    else socket.on('end', () => this.#ended(side));
  }

  /** What Node takes for the end of file of one side. */
  #ended(side: Side): void {
    if (this.#cause !== undefined) return;
    const leftover = readLeftover(this.#tunnel[side]);
    if (leftover.error !== undefined) {
      this.#failed(side, leftover.error, leftover);
      return;
    }
    this.#deliver(side, leftover.chunks);
    this.#lastActivityMs = performance.now();
    this.#firstFin ??= `${side}_fin`;
    this.#arm();
    this.#tunnel[OTHER[side]].end();
  }

  /** One side is gone: what was read from it still reaches the other, which is then reset (contract 3). */
  #failed(side: Side, error?: NodeJS.ErrnoException | null, leftover?: Leftover): void {
    if (this.#cause !== undefined) return;
    const timedOut = error?.code === 'ETIMEDOUT' || error?.code === 'EHOSTUNREACH';
    this.#cause = timedOut ? `${side}_timeout` : `${side}_reset`;
    const gone = this.#tunnel[side];
    const other = this.#tunnel[OTHER[side]];
    other.pause();
    gone.removeAllListeners('data');
    this.#deliver(side, buffered(gone));
    this.#deliver(side, (leftover ?? readLeftover(gone)).chunks);
    gone.destroy();
    this.#arm();
    resetAfterDelivery(other, () => {
      this.#lastActivityMs = performance.now();
    });
  }

  #deliver(side: Side, chunks: Iterable<Buffer>): void {
    const sink = this.#tunnel[OTHER[side]];
    for (const chunk of chunks) {
      this.#count(side, chunk);
      if (sink.writable) sink.write(chunk);
    }
  }

  #count(side: Side, chunk: Buffer): void {
    const { traffic } = this;
    if (side === 'client') {
      traffic.bytesUp += chunk.length;
      this.#handshake.push(chunk);
      traffic.handshakeOnly = this.#handshake.value;
    } else {
      traffic.firstByteAtMs ??= performance.now();
      traffic.bytesDown += chunk.length;
    }
  }

  readonly #onAbort = (): void => this.#cut('aborted');

  /** Ends both sides at once; also those that a reset left waiting for a reader that stalls. */
  #cut(cause: RelayCause): void {
    this.#cause ??= cause;
    resetNow(this.#tunnel.client);
    resetNow(this.#tunnel.upstream);
  }

  #closed(side: Side): void {
    this.#open.delete(side);
    if (this.#open.size > 0) return;
    clearTimeout(this.#timer);
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#resolve({ cause: this.#cause ?? this.#firstFin ?? 'aborted' });
  }

  /** Looks at the clock, and again when something may be due: a timer for each byte would cost more than the byte. */
  #arm(): void {
    clearTimeout(this.#timer);
    if (this.#open.size === 0) return;
    const half = this.#firstFin !== undefined || this.#cause !== undefined;
    const limits: readonly { readonly ms: number; readonly cause: RelayCause }[] = [
      { ms: this.#options.idleTimeoutMs, cause: 'idle_timeout' },
      { ms: half ? this.#options.halfCloseTimeoutMs : 0, cause: 'half_close_timeout' },
    ];
    const [limit] = limits.filter(({ ms }) => ms > 0).sort((a, b) => a.ms - b.ms);
    const probing = this.#firstFin !== undefined && this.#cause === undefined;
    if (limit === undefined && !probing) return;
    const leftMs = limit === undefined ? MAX_TIMER_MS : limit.ms - (performance.now() - this.#lastActivityMs);
    if (limit !== undefined && leftMs <= 0) {
      this.#cut(limit.cause);
      return;
    }
    // In whole milliseconds: Node keeps a list for each duration that there is.
    const waitMs = Math.min(Math.ceil(leftMs), probing ? RESET_PROBE_MS : MAX_TIMER_MS);
    this.#timer = setTimeout(() => {
      this.#probe('client');
      this.#probe('upstream');
      this.#arm();
    }, waitMs);
  }

  /**
   * Node does not watch a side that has ended its half (https://github.com/libuv/libuv/issues/3449). An empty write sends
   * nothing, and fails after a reset.
   */
  #probe(side: Side): void {
    const socket = this.#tunnel[side];
    if (socket.readableEnded && socket.writable && socket.writableLength === 0) {
      carrierOf(socket).write('', this.#written[side]);
    }
  }
}

/** What was read of a socket already, up to the last byte. */
function* buffered(socket: Socket): Generator<Buffer> {
  for (let chunk: unknown = socket.read(); chunk instanceof Buffer; chunk = socket.read()) yield chunk;
}
