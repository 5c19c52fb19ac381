import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { StopSignal } from '../stop.js';
import { descriptorOf } from './descriptor.js';
import {
  type EngineState,
  RELAY_CAUSES,
  type Relay,
  type RelayCause,
  type RelayEnd,
  type RelayEngine,
  type RelayOptions,
  type RelayTotals,
  type RelayTunnel,
  type Traffic,
} from './relay.js';
import { streamEngine } from './stream.js';

/** What the native core offers: `native/binding.c`. A tunnel is known by its slot until its end is reported. */
interface Core {
  start(threads: number, onEnded: (slot: number, cause: number) => void): void;
  /** Lends the core memory for the counters of the next {@link SLOTS_OF_A_SLAB} slots, for good. */
  lend(slab: BigUint64Array): void;
  add(
    slot: number,
    client: number,
    upstream: number,
    up: Buffer,
    down: Buffer,
    downUncounted: number,
    keepaliveSeconds: number,
    idleMs: number,
    halfCloseMs: number,
    userTimeoutMs: number,
  ): void;
  abort(slot: number): void;
  totals(): readonly number[];
}

/** How the native core runs. */
export interface SpliceOptions {
  /** Threads that move bytes. */
  readonly threads: number;
  /** TCP_USER_TIMEOUT of both sockets in milliseconds; 0: the system's. */
  readonly userTimeoutMs: number;
}

/**
 * The engine that moves bytes from kernel to kernel, in threads of the native core. Both descriptors are given away: JavaScript
 * hears of a tunnel again when it has ended.
 */
export function loadSplice(options: SpliceOptions): EngineState {
  const file = fileURLToPath(new URL('../../native/relay.node', import.meta.url));
  let core: Core;
  try {
    core = createRequire(import.meta.url)(file) as Core; // its exports are those of native/binding.c
  } catch (error) {
    return { absent: whyAbsent(file, error) };
  }
  try {
    return { engine: new SpliceEngine(core, options) };
  } catch (error) {
    return { absent: error instanceof Error ? error.message : String(error) };
  }
}

function whyAbsent(file: string, error: unknown): string {
  if (process.platform !== 'linux') return 'it needs Linux';
  if (!existsSync(file)) {
    return 'its native core was not built when spliceway was installed; that needs make and a C compiler (Debian: apt-get install gcc make libc6-dev), then npm ci';
  }
  return `its native core does not load: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`;
}

class SpliceEngine implements RelayEngine {
  readonly name = 'splice';
  readonly #core: Core;
  readonly #userTimeoutMs: number;
  /** CLOCK_MONOTONIC, which the core reads, when `performance.now` was 0. */
  readonly #originNs = process.hrtime.bigint() - BigInt(Math.round(performance.now() * 1e6));
  readonly #slots: Slots;
  /** By slot. */
  readonly #handed: (SplicedTunnel | undefined)[] = [];

  constructor(core: Core, { threads, userTimeoutMs }: SpliceOptions) {
    this.#core = core;
    this.#userTimeoutMs = userTimeoutMs;
    this.#slots = new Slots((slab) => core.lend(slab));
    core.start(threads, (slot, cause) => this.#onEnded(slot, cause));
  }

  relay(tunnel: RelayTunnel, options: RelayOptions, signal: StopSignal): Relay {
    const { client, upstream } = tunnel;
    const clientDescriptor = readyDescriptorOf(client);
    const upstreamDescriptor = readyDescriptorOf(upstream);
    // A side that has failed already, or has something left to write in Node's hands, is for Node to end.
    if (clientDescriptor === undefined || upstreamDescriptor === undefined || signal.aborted)
      return streamEngine.relay(tunnel, options, signal);
    const readOfClient = readAhead(client);
    const readOfUpstream = readAhead(upstream);
    let slot: number | undefined;
    try {
      slot = this.#slots.take();
      this.#core.add(
        slot,
        clientDescriptor,
        upstreamDescriptor,
        joined(tunnel.early, readOfClient),
        joined(tunnel.reply, readOfUpstream),
        tunnel.reply.length,
        options.keepaliveMs / 1000,
        options.idleTimeoutMs,
        options.halfCloseTimeoutMs,
        this.#userTimeoutMs,
      );
    } catch {
      // No descriptors or memory at this moment: the tunnel goes on with those it has.
      if (slot !== undefined) this.#slots.give(slot);
      if (readOfClient.length > 0) client.unshift(readOfClient);
      if (readOfUpstream.length > 0) upstream.unshift(readOfUpstream);
      return streamEngine.relay(tunnel, options, signal);
    }
    // The core has duplicates: this closes ours, and neither ends a connection.
    client.destroy();
    upstream.destroy();
    const handed = new SplicedTunnel(slot, this, signal);
    this.#handed[slot] = handed;
    return handed;
  }

  /** CLOCK_MONOTONIC in milliseconds of `performance.now`. */
  monotonicMs(ns: bigint): number {
    return Number(ns - this.#originNs) / 1e6;
  }

  read(slot: number, counter: number): bigint {
    return this.#slots.read(slot, counter);
  }

  abort(slot: number): void {
    this.#core.abort(slot);
  }

  totals(): RelayTotals {
    const [splicedBytes = 0, copiedBytes = 0, pipesInUse = 0, pipesPooled = 0, ...fallbacks] =
      this.#core.totals();
    const [pipePages = 0, descriptors = 0, unsupported = 0] = fallbacks;
    return {
      splicedBytes,
      copiedBytes,
      pipesInUse,
      pipesPooled,
      fallbacks: { pipe_pages: pipePages, descriptors, unsupported },
    };
  }

  #onEnded(slot: number, cause: number): void {
    const handed = this.#handed[slot];
    if (handed === undefined) return;
    this.#handed[slot] = undefined;
    handed.finish(RELAY_CAUSES[cause] ?? ('aborted' satisfies RelayCause));
    this.#slots.give(slot);
  }
}

/** The descriptor of a connection that the core can have: open, with nothing left to write in Node's hands. */
function readyDescriptorOf(socket: Socket): number | undefined {
  return !socket.destroyed && socket.writable && socket.writableLength === 0
    ? descriptorOf(socket)
    : undefined;
}

const NOTHING: Buffer = Buffer.alloc(0);

/** What Node has read of a socket and nobody has taken. */
function readAhead(socket: Socket): Buffer {
  let read = NOTHING;
  if (socket.readableLength === 0) return read;
  for (let chunk: unknown = socket.read(); chunk instanceof Buffer; chunk = socket.read())
    read = joined(read, chunk);
  return read;
}

/** Nearly always one of them is empty. */
function joined(first: Buffer, second: Buffer): Buffer {
  if (second.length === 0) return first;
  return first.length === 0 ? second : Buffer.concat([first, second]);
}

/** Counters of a tunnel, and where each is: `enum relay_counter` in `native/relay.h`. */
const COUNTERS = 4;
const UP = 0;
const DOWN = 1;
const FIRST_BYTE_NS = 2;
const HANDSHAKE_ONLY = 3;
/** As in `native/binding.c`. */
const SLOTS_OF_A_SLAB = 256;

/** Memory that the core counts in, cut into slots that are used again. */
class Slots {
  readonly #slabs: BigUint64Array[] = [];
  readonly #free: number[] = [];
  readonly #lend: (slab: BigUint64Array) => void;

  constructor(lend: (slab: BigUint64Array) => void) {
    this.#lend = lend;
  }

  take(): number {
    if (this.#free.length === 0) {
      const slab = new BigUint64Array(SLOTS_OF_A_SLAB * COUNTERS);
      this.#lend(slab);
      const first = this.#slabs.push(slab) * SLOTS_OF_A_SLAB - 1;
      for (let i = 0; i < SLOTS_OF_A_SLAB; i += 1) this.#free.push(first - i);
    }
    return this.#free.pop() ?? 0;
  }

  give(slot: number): void {
    this.#free.push(slot);
  }

  read(slot: number, counter: number): bigint {
    return (
      this.#slabs[Math.floor(slot / SLOTS_OF_A_SLAB)]?.[(slot % SLOTS_OF_A_SLAB) * COUNTERS + counter] ?? 0n
    );
  }
}

/**
 * A tunnel that the core has, and its traffic, read where the core counts it until the tunnel has ended. Thousands may be idle,
 * so it is one object.
 */
class SplicedTunnel implements Relay, Traffic {
  readonly end: Promise<RelayEnd>;
  readonly #slot: number;
  readonly #engine: SpliceEngine;
  readonly #signal: StopSignal;
  readonly #onAbort: () => void;
  #resolve: (end: RelayEnd) => void = () => {};
  #final: Traffic | undefined;

  constructor(slot: number, engine: SpliceEngine, signal: StopSignal) {
    this.#slot = slot;
    this.#engine = engine;
    this.#signal = signal;
    this.#onAbort = () => engine.abort(slot);
    signal.addEventListener('abort', this.#onAbort);
    this.end = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  get engine(): 'splice' {
    return 'splice';
  }

  get traffic(): Traffic {
    return this;
  }

  get bytesUp(): number {
    return this.#final?.bytesUp ?? Number(this.#engine.read(this.#slot, UP));
  }

  get bytesDown(): number {
    return this.#final?.bytesDown ?? Number(this.#engine.read(this.#slot, DOWN));
  }

  get firstByteAtMs(): number | undefined {
    if (this.#final !== undefined) return this.#final.firstByteAtMs;
    const atNs = this.#engine.read(this.#slot, FIRST_BYTE_NS);
    return atNs === 0n ? undefined : this.#engine.monotonicMs(atNs);
  }

  get handshakeOnly(): boolean {
    return this.#final?.handshakeOnly ?? this.#engine.read(this.#slot, HANDSHAKE_ONLY) === 1n;
  }

  /** Keeps the counters as they are now: the slot is somebody else's from here on. */
  finish(cause: RelayCause): void {
    const { bytesUp, bytesDown, firstByteAtMs, handshakeOnly } = this;
    this.#final = { bytesUp, bytesDown, firstByteAtMs, handshakeOnly };
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#resolve({ cause });
  }
}
