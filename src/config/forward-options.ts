import { matches } from '../access/rules.js';
import { OPTIONS, type ParentRow } from './options.js';
import { parseTargetOption } from './parsers.js';
import { type ConfigOf, option } from './table.js';

/** Every option of `spliceway forward`: its own, and what it shares with `spliceway serve`, with other defaults where they differ. */
export const FORWARD_OPTIONS = {
  listen: option({ ...OPTIONS.listen, default: '127.0.0.1:0' }),
  target: option({
    name: 'target',
    placeholder: 'HOST:PORT',
    required: 'say where the port is to lead, as in --target api.target.example:6443',
    // A URL with a password may stand there by mistake.
    secret: true,
    group: 'Listening',
    help: 'Where every connection leads. A parent proxy resolves its name itself.',
    parse: parseTargetOption,
  }),
  admin: option({ ...OPTIONS.admin, default: 'off' }),
  parent: option({
    ...OPTIONS.parent,
    required:
      'say which proxy leads there, as in --parent http://user:password@proxy.example:3128, or --parent direct',
    help: 'Go there through other proxies, tried in order; the first --parent that fits the target counts.',
  }),
  dnsTimeout: OPTIONS.dnsTimeout,
  connectTimeout: OPTIONS.connectTimeout,
  parentTimeout: OPTIONS.parentTimeout,
  dialTimeout: option({ ...OPTIONS.dialTimeout, help: 'For names, addresses and retries together.' }),
  dialRetry: OPTIONS.dialRetry,
  relay: OPTIONS.relay,
  relayThreads: OPTIONS.relayThreads,
  idleTimeout: OPTIONS.idleTimeout,
  halfCloseTimeout: OPTIONS.halfCloseTimeout,
  keepalive: OPTIONS.keepalive,
  userTimeout: OPTIONS.userTimeout,
  maxTunnels: OPTIONS.maxTunnels,
  drainWindow: option({ ...OPTIONS.drainWindow, default: '0s' }),
  drainTimeout: OPTIONS.drainTimeout,
  logLevel: OPTIONS.logLevel,
  logFormat: OPTIONS.logFormat,
} as const;

/** The configuration of `spliceway forward`, durations in milliseconds. */
export type ForwardConfig = ConfigOf<typeof FORWARD_OPTIONS>;

/** The ways to the target of a configuration, in order; undefined: it tells none. */
export function waysOf({
  target,
  parent,
}: Pick<ForwardConfig, 'target' | 'parent'>): ParentRow['ways'] | undefined {
  return parent.find(({ rule }) => rule === undefined || matches(rule, target))?.ways;
}
