import type { WrittenWay } from './parent.js';

/** How long a parent that could not be reached stands back behind the others, in milliseconds. */
const STAND_BACK_MS = 30_000;

/** So many are remembered: parents of a PAC file may be many. */
const REMEMBERED = 256;

/**
 * Which parents could not be reached of late. A parent that a packet filter drops costs the whole deadline of a connection, which only
 * the first tunnel should pay for: while it stands back, the other ways are tried before it.
 */
export class ParentHealth {
  readonly #untilMs = new Map<string, number>();

  /** The same ways in the same order, but those that stand back at the end. */
  order(ways: readonly WrittenWay[]): readonly WrittenWay[] {
    if (this.#untilMs.size === 0) return ways;
    const isBack = (way: WrittenWay) =>
      way.kind === 'parent' && (this.#untilMs.get(way.name) ?? 0) > performance.now();
    return [...ways.filter((way) => !isBack(way)), ...ways.filter(isBack)];
  }

  /** What became of a try to connect to a parent; what it answers then is another matter. */
  connected(name: string, isReached: boolean): void {
    this.#untilMs.delete(name);
    if (isReached) return;
    if (this.#untilMs.size >= REMEMBERED) this.#untilMs.clear();
    this.#untilMs.set(name, performance.now() + STAND_BACK_MS);
  }
}
