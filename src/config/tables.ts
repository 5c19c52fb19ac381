import { FORWARD_CONTRADICTIONS, MANIFEST_CONTRADICTIONS, SERVE_CONTRADICTIONS } from './contradictions.js';
import { FORWARD_OPTIONS } from './forward-options.js';
import { HEALTH_OPTIONS } from './health-options.js';
import { MANIFEST_OPTIONS } from './manifest-options.js';
import { OPTIONS } from './options.js';
import type { OptionTable } from './table.js';

/** The options of `spliceway serve`. */
export const SERVE: OptionTable<typeof OPTIONS> = {
  command: 'spliceway serve',
  rows: OPTIONS,
  contradictions: SERVE_CONTRADICTIONS,
};

/** The options of `spliceway forward`. */
export const FORWARD: OptionTable<typeof FORWARD_OPTIONS> = {
  command: 'spliceway forward',
  rows: FORWARD_OPTIONS,
  contradictions: FORWARD_CONTRADICTIONS,
};

/** The options of `spliceway manifest`. */
export const MANIFEST: OptionTable<typeof MANIFEST_OPTIONS> = {
  command: 'spliceway manifest',
  rows: MANIFEST_OPTIONS,
  fileFlag: 'inventory',
  fileIsComplete: true,
  takesWords: true,
  contradictions: MANIFEST_CONTRADICTIONS,
};

/** The options of `spliceway health`. */
export const HEALTH: OptionTable<typeof HEALTH_OPTIONS> = {
  command: 'spliceway health',
  rows: HEALTH_OPTIONS,
  sharesFile: true,
  contradictions: [],
};

/** All of them: an option of another command is told as what it is, and a variable of another is none of this one's business. */
export const TABLES = [SERVE, FORWARD, MANIFEST, HEALTH] as const;
