import { OPTIONS } from './options.js';
import { type ListenAddress, type Parsed, parseAdmin, parseDeadline } from './parsers.js';
import { type ConfigOf, option } from './table.js';

/** Every option of `spliceway health`: where `spliceway serve` was told to have its admin listener, and how long to wait for it. */
export const HEALTH_OPTIONS = {
  admin: option({
    ...OPTIONS.admin,
    placeholder: 'HOST:PORT',
    help: 'Where the proxy has its admin listener. 0.0.0.0 and [::] are asked on both loopback addresses.',
    parse: parseAsked,
  }),
  healthTimeout: option({
    name: 'health-timeout',
    placeholder: 'TIME',
    default: '3s',
    group: 'Listening',
    help: 'Wait so long for its answer.',
    parse: parseDeadline,
  }),
} as const;

/** The configuration of `spliceway health`, durations in milliseconds. */
export type HealthConfig = ConfigOf<typeof HEALTH_OPTIONS>;

/** An admin listener that can be asked by who has the same options and nothing else. */
function parseAsked(text: string): Parsed<ListenAddress> {
  const how = 'give the admin listener an address, such as 127.0.0.1:9128';
  const { value, problem } = parseAdmin(text);
  if (problem !== undefined) return { problem };
  if (value === 'off') return { problem: `leaves nobody to ask: ${how}, or do without this health check` };
  if (value.port === 0) return { problem: `is another port at every start: ${how}` };
  return { value };
}
