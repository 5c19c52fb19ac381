import type { EngineName, EngineState, RelayEngine } from './relay.js';
import { loadSplice, type SpliceOptions } from './splice.js';
import { streamEngine } from './stream.js';

/** Every engine that spliceway knows, best first. Tests and benchmarks iterate over it. */
export const ENGINES = {
  splice: (options: SpliceOptions): EngineState => loadSplice(options),
  stream: (): EngineState => ({ engine: streamEngine }),
} as const satisfies Record<EngineName, (options: SpliceOptions) => EngineState>;

/** What `--relay` takes. */
export type EngineChoice = EngineName | 'auto';

/** The engine that runs, and why each better one does not. */
export interface PickedRelay {
  readonly engine: RelayEngine;
  /** Engines that would have been preferred, each with its reason for being absent. Said at start and in the metrics. */
  readonly absent: readonly { readonly name: EngineName; readonly why: string }[];
}

/**
 * Picks the best engine there is, or the one asked for.
 *
 * @throws Error with the reason, where the one asked for is absent: asking by name is no wish
 */
export function pickRelay(choice: EngineChoice, options: SpliceOptions): PickedRelay {
  const absent: { name: EngineName; why: string }[] = [];
  for (const [name, load] of Object.entries(ENGINES) as [
    EngineName,
    (options: SpliceOptions) => EngineState,
  ][]) {
    if (choice !== 'auto' && choice !== name) continue;
    const state = load(options);
    if (state.engine !== undefined) return { engine: state.engine, absent };
    absent.push({ name, why: state.absent });
  }
  throw new Error(`the relay engine ${choice} is absent: ${absent.map(({ why }) => why).join('; ')}`);
}
