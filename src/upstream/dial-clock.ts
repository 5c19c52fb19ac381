import type { DialTimings, ParentDial } from '../reasons.js';

/** What one try of a dial took, and which parents it tried. */
export class DialClock {
  #dnsMs: number | undefined;
  #connectMs: number | undefined;
  readonly #parents: ParentDial[];

  /** @param parents those of earlier tries; the ones of this try are added */
  constructor(parents: ParentDial[]) {
    this.#parents = parents;
  }

  get timings(): DialTimings {
    return {
      ...(this.#dnsMs === undefined ? {} : { dnsMs: this.#dnsMs }),
      ...(this.#connectMs === undefined ? {} : { connectMs: this.#connectMs }),
      ...(this.#parents.length === 0 ? {} : { parents: this.#parents }),
    };
  }

  /** Waits for an answer of DNS. */
  async dns<T>(resolving: Promise<T>): Promise<T> {
    const startedMs = performance.now();
    try {
      return await resolving;
    } finally {
      this.#dnsMs = (this.#dnsMs ?? 0) + performance.now() - startedMs;
    }
  }

  /** Waits for a connection, or for a handshake on it. */
  async connecting<T>(connecting: Promise<T>): Promise<T> {
    const startedMs = performance.now();
    try {
      return await connecting;
    } finally {
      this.#connectMs = (this.#connectMs ?? 0) + performance.now() - startedMs;
    }
  }

  /** Notes what became of a parent. */
  tried(parent: ParentDial): void {
    this.#parents.push(parent);
  }
}
