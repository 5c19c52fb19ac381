import { readFile } from 'node:fs/promises';
import { isIPv6, type Socket } from 'node:net';
import { endianness } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import ipaddr from 'ipaddr.js';

/** A reading walks the kernel's hash table: milliseconds on a large machine, tens of them with thousands of connections. */
const MAX_SHARE_OF_TIME = 0.25;

/**
 * Bytes in the kernel's send queue of a TCP connection, sent and unacknowledged ones and an end of file included:
 * `tx_queue` in proc_net_tcp(5). Node has no ioctl(2) for SIOCOUTQ. Whoever asks at the same time shares one reading of the
 * table, and readings take no more than {@link MAX_SHARE_OF_TIME} of the time.
 *
 * @returns undefined where the connection is not in the table: it is gone, or the platform has no such table; infinity
 *   where the table could not be read for want of something, so that nothing is known
 */
export function unsentBytes(socket: Socket): Promise<number | undefined> {
  const { localAddress, localPort, remoteAddress, remotePort } = socket;
  if (localAddress === undefined || remoteAddress === undefined) return Promise.resolve(undefined);
  const table = isIPv6(remoteAddress) ? TABLES.ipv6 : TABLES.ipv4;
  return table.ask(`${endpoint(localAddress, localPort)} ${endpoint(remoteAddress, remotePort)}`);
}

/** A table of proc_net_tcp(5), read for all who ask. */
class Table {
  readonly #path: string;
  #asked: { readonly ends: string; readonly answer: (bytes: number | undefined) => void }[] = [];
  #reading = false;

  constructor(path: string) {
    this.#path = path;
  }

  ask(ends: string): Promise<number | undefined> {
    return new Promise((answer) => {
      // An answer must be younger than its question: who asks during a reading waits for the next.
      this.#asked.push({ ends, answer });
      if (!this.#reading) void this.#read();
    });
  }

  async #read(): Promise<void> {
    this.#reading = true;
    while (this.#asked.length > 0) {
      const asked = this.#asked;
      this.#asked = [];
      const startedMs = performance.now();
      const queues = await this.#queues(new Set(asked.map(({ ends }) => ends)));
      const tookMs = performance.now() - startedMs;
      for (const { ends, answer } of asked)
        answer(queues === undefined ? Number.POSITIVE_INFINITY : queues.get(ends));
      await sleep(tookMs / MAX_SHARE_OF_TIME - tookMs);
    }
    this.#reading = false;
  }

  /** The send queues of these connections, as far as they are in the table; undefined where it could not be read. */
  async #queues(wanted: ReadonlySet<string>): Promise<ReadonlyMap<string, number> | undefined> {
    try {
      const text = await readFile(this.#path, 'latin1');
      const rows = [...text.matchAll(/^ *\d+: (\S+ \S+) [0-9A-F]{2} ([0-9A-F]+):/gm)];
      return new Map(
        rows
          .filter(([, ends = '']) => wanted.has(ends))
          .map(([, ends = '', bytes = '']) => [ends, Number.parseInt(bytes, 16)]),
      );
    } catch (error) {
      const absent =
        error instanceof Error && 'code' in error && ['ENOENT', 'EACCES'].includes(`${error.code}`);
      return absent ? new Map() : undefined;
    }
  }
}

const TABLES = { ipv4: new Table('/proc/self/net/tcp'), ipv6: new Table('/proc/self/net/tcp6') };

/** An address as proc_net_tcp(5) prints it: 32-bit words in the byte order of the machine. */
function endpoint(address: string, port: number | undefined): string {
  const bytes = ipaddr.parse(address).toByteArray();
  const words: string[] = [];
  for (let i = 0; i < bytes.length; i += 4) {
    const word = bytes.slice(i, i + 4);
    words.push(...(endianness() === 'LE' ? word.reverse() : word).map((byte) => hex(byte, 2)));
  }
  return `${words.join('')}:${hex(port ?? 0, 4)}`;
}

function hex(value: number, digits: number): string {
  return value.toString(16).toUpperCase().padStart(digits, '0');
}
