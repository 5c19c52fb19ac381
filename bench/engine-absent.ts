// engine-absent.js ENGINE: prints why this machine does not have it, or nothing. A program of its own: an engine starts threads.
import { ENGINES } from '../src/relay/engines.js';

const name = process.argv[2] as keyof typeof ENGINES; // contenders.ts takes it from there
const { absent } = ENGINES[name]({ threads: 1, userTimeoutMs: 0 });
process.stdout.write(absent ?? '', () => process.exit());
