import { BULK } from './bulk.js';
import { HANDSHAKE_LATENCY } from './handshake-latency.js';
import { HANDSHAKES } from './handshakes.js';
import { MEMORY } from './memory.js';
import { ROUND_TRIP } from './round-trip.js';

/** Every measure, in the order of the tables. */
export const MEASURES = [BULK, HANDSHAKES, HANDSHAKE_LATENCY, ROUND_TRIP, MEMORY] as const;
