import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
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

/** What the native core offers: `native/binding.c`. */
interface Core {
  start(threads: number, onEnded: (slot: number, cause: number) => void): void;
  add(
    client: number,
    upstream: number,
    up: Buffer,
    down: Buffer,
    downUncounted: number,
    counters: BigUint64Array,
    slot: number,
    idleMs: number,
    halfCloseMs: number,
    userTimeoutMs: number,
  ): CoreTunnel;
  abort(tunnel: CoreTunnel): void;
  totals(): readonly number[];
}

/** The core's own handle of a tunnel; good until its end was reported. */
type CoreTunnel = { readonly coreTunnel: unique symbol };

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

/** A tunnel that the core has. */
interface Handed {
  readonly tunnel: CoreTunnel;
  readonly traffic: SlotTraffic;
  readonly finish: (end: RelayEnd) => void;
}

class SpliceEngine implements RelayEngine {
  readonly name = 'splice';
  readonly #core: Core;
  readonly #userTimeoutMs: number;
  /** CLOCK_MONOTONIC, which the core reads, when `performance.now` was 0. */
  readonly #originNs = process.hrtime.bigint() - BigInt(Math.round(performance.now() * 1e6));
  readonly #slab = new Slab();
  readonly #handed = new Map<number, Handed>();

  constructor(core: Core, { threads, userTimeoutMs }: SpliceOptions) {
    this.#core = core;
    this.#userTimeoutMs = userTimeoutMs;
    core.start(threads, (slot, cause) => this.#onEnded(slot, cause));
  }

  relay(tunnel: RelayTunnel, options: RelayOptions, signal: AbortSignal): Relay {
    const descriptors = descriptorsOf(tunnel);
    // A side that has failed already, or has something left to write in Node's hands, is for Node to end.
    if (descriptors === undefined || signal.aborted) return streamEngine.relay(tunnel, options, signal);
    const read = { client: readAhead(tunnel.client), upstream: readAhead(tunnel.upstream) };
    const slot = this.#slab.take();
    let handed: CoreTunnel;
    try {
      handed = this.#core.add(
        descriptors.client,
        descriptors.upstream,
        joined(tunnel.early, read.client),
        joined(tunnel.reply, read.upstream),
        tunnel.reply.length,
        slot.counters,
        slot.index,
        options.idleTimeoutMs,
        options.halfCloseTimeoutMs,
        this.#userTimeoutMs,
      );
    } catch {
      // No descriptors or memory at this moment: the tunnel goes on with those it has.
      this.#slab.give(slot.index);
      if (read.client.length > 0) tunnel.client.unshift(read.client);
      if (read.upstream.length > 0) tunnel.upstream.unshift(read.upstream);
      return streamEngine.relay(tunnel, options, signal);
    }
    // The core has duplicates: this closes ours, and neither ends a connection.
    tunnel.client.destroy();
    tunnel.upstream.destroy();
    const traffic = new SlotTraffic(slot.counters, this.#originNs);
    const onAbort = () => this.#core.abort(handed);
    signal.addEventListener('abort', onAbort);
    const end = new Promise<RelayEnd>((resolve) => {
      const finish = (result: RelayEnd) => {
        signal.removeEventListener('abort', onAbort);
        resolve(result);
      };
      this.#handed.set(slot.index, { tunnel: handed, traffic, finish });
    });
    return { engine: this.name, traffic, end };
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
    const handed = this.#handed.get(slot);
    if (handed === undefined) return;
    this.#handed.delete(slot);
    handed.traffic.freeze();
    this.#slab.give(slot);
    handed.finish({ cause: RELAY_CAUSES[cause] ?? ('aborted' satisfies RelayCause) });
  }
}

/** Both descriptors, where the core can have them. */
function descriptorsOf({
  client,
  upstream,
}: RelayTunnel): { readonly client: number; readonly upstream: number } | undefined {
  const ready = (socket: Socket) => !socket.destroyed && socket.writable && socket.writableLength === 0;
  if (!ready(client) || !ready(upstream)) return undefined;
  const descriptors = { client: descriptorOf(client), upstream: descriptorOf(upstream) };
  if (descriptors.client === undefined || descriptors.upstream === undefined) return undefined;
  return { client: descriptors.client, upstream: descriptors.upstream };
}

/** What Node has read of a socket and nobody has taken. */
function readAhead(socket: Socket): Buffer {
  let read: Buffer = Buffer.alloc(0);
  for (let chunk: unknown = socket.read(); chunk instanceof Buffer; chunk = socket.read())
    read = joined(read, chunk);
  return read;
}

/** Nearly always one of them is empty. */
function joined(first: Buffer, second: Buffer): Buffer {
  if (second.length === 0) return first;
  return first.length === 0 ? second : Buffer.concat([first, second]);
}

/** Counters of a tunnel; the order is that of `enum relay_counter` in `native/relay.h`. */
const COUNTERS = 4;
const SLOTS_OF_A_CHUNK = 256;

/** Memory that the core counts in, cut into slots that are used again. */
class Slab {
  readonly #chunks: BigUint64Array[] = [];
  readonly #free: number[] = [];

  take(): { readonly index: number; readonly counters: BigUint64Array } {
    if (this.#free.length === 0) {
      const first = this.#chunks.length * SLOTS_OF_A_CHUNK;
      this.#chunks.push(new BigUint64Array(SLOTS_OF_A_CHUNK * COUNTERS));
      for (let slot = SLOTS_OF_A_CHUNK - 1; slot >= 0; slot -= 1) this.#free.push(first + slot);
    }
    const index = this.#free.pop() ?? 0;
    const chunk = this.#chunks[Math.floor(index / SLOTS_OF_A_CHUNK)] ?? new BigUint64Array(COUNTERS);
    const at = (index % SLOTS_OF_A_CHUNK) * COUNTERS;
    return { index, counters: chunk.subarray(at, at + COUNTERS).fill(0n) };
  }

  give(index: number): void {
    this.#free.push(index);
  }
}

/** The traffic of a tunnel, read where the core counts it until the tunnel has ended. */
class SlotTraffic implements Traffic {
  #counters: BigUint64Array;
  readonly #originNs: bigint;

  constructor(counters: BigUint64Array, originNs: bigint) {
    this.#counters = counters;
    this.#originNs = originNs;
  }

  get bytesUp(): number {
    return Number(this.#counters[0]);
  }

  get bytesDown(): number {
    return Number(this.#counters[1]);
  }

  get firstByteAtMs(): number | undefined {
    const atNs = this.#counters[2] ?? 0n;
    return atNs === 0n ? undefined : Number(atNs - this.#originNs) / 1e6;
  }

  get handshakeOnly(): boolean {
    return this.#counters[3] === 1n;
  }

  /** Keeps the values as they are now: the slot is somebody else's from here on. */
  freeze(): void {
    this.#counters = this.#counters.slice();
  }
}
