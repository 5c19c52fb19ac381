import { readFile } from 'node:fs/promises';
import { isIPv6, type Socket } from 'node:net';
import { endianness } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import ipaddr from 'ipaddr.js';

/** One reading takes milliseconds on a large machine, however few sockets there are: it walks the kernel's hash table. */
const MAX_SHARE_OF_TIME = 0.1;

/**
 * Bytes in the kernel's send queue of a TCP connection, sent and unacknowledged ones and an end of file included:
 * `tx_queue` in proc_net_tcp(5). Node has no ioctl(2) for SIOCOUTQ. Whoever asks at the same time shares one reading of the
 * table, and readings take no more than {@link MAX_SHARE_OF_TIME} of the time.
 *
 * @returns undefined where the connection is not in the table: it is gone, or the platform does not tell
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
  readonly #asked = new Map<string, ((bytes: number | undefined) => void)[]>();
  #reading = false;

  constructor(path: string) {
    this.#path = path;
  }

  ask(ends: string): Promise<number | undefined> {
    return new Promise((resolve) => {
      // An answer must be younger than its question: who asks during a reading waits for the next.
      this.#asked.set(ends, [...(this.#asked.get(ends) ?? []), resolve]);
      if (!this.#reading) void this.#read();
    });
  }

  async #read(): Promise<void> {
    this.#reading = true;
    while (this.#asked.size > 0) {
      const asked = new Map(this.#asked);
      this.#asked.clear();
      const startedMs = performance.now();
      const text = await readFile(this.#path, 'latin1').catch(() => '');
      for (const [ends, bytes] of queues(text, asked)) {
        for (const answer of asked.get(ends) ?? []) answer(bytes);
        asked.delete(ends);
      }
      for (const answer of [...asked.values()].flat()) answer(undefined);
      const tookMs = performance.now() - startedMs;
      await sleep(tookMs / MAX_SHARE_OF_TIME);
    }
    this.#reading = false;
  }
}

const TABLES = { ipv4: new Table('/proc/self/net/tcp'), ipv6: new Table('/proc/self/net/tcp6') };

/** The send queues of those connections that were asked for. */
function* queues(
  text: string,
  asked: ReadonlyMap<string, unknown>,
): Generator<[ends: string, bytes: number]> {
  for (const [, ends = '', bytes = '0'] of text.matchAll(/^ *\d+: (\S+ \S+) [0-9A-F]{2} ([0-9A-F]+):/gm)) {
    if (asked.has(ends)) yield [ends, Number.parseInt(bytes, 16)];
  }
}

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
