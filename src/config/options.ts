import type { Credential } from '../access/credentials.js';
import { parseRule, type Rule } from '../access/rules.js';
import { LOG_LEVELS } from '../observe/log.js';
import { parseWays, type WrittenWay } from '../upstream/parent.js';
import {
  oneOf,
  type Parsed,
  parseAdmin,
  parseCount,
  parseCredential,
  parseDeadline,
  parseDuration,
  parseKeepalive,
  parseListen,
  parsePassword,
  parseSwitch,
  parseUpgrades,
  parseUserName,
} from './parsers.js';
import { type ConfigOf, option } from './table.js';

/** Every option of `spliceway serve`: a table, over 300 lines since it has a row for each. */
export const OPTIONS = {
  listen: option({
    name: 'listen',
    placeholder: 'HOST:PORT',
    default: '0.0.0.0:3128',
    repeatable: 'words',
    group: 'Listening',
    help: 'Listen for clients here; port 0 takes a free one.',
    parse: parseListen,
  }),
  admin: option({
    name: 'admin',
    placeholder: 'HOST:PORT|off',
    default: '127.0.0.1:9128',
    group: 'Listening',
    help: 'Serve /metrics, /live and /ready here.',
    parse: parseAdmin,
  }),
  handshakeTimeout: option({
    name: 'handshake-timeout',
    placeholder: 'TIME',
    default: '30s',
    group: 'Listening',
    help: 'From the accepted connection, or the answer before, to the whole request.',
    parse: parseDeadline,
  }),
  lingerTimeout: option({
    name: 'linger-timeout',
    placeholder: 'TIME',
    default: '2s',
    group: 'Listening',
    help: 'After a refusal, wait so long for the client to close.',
    parse: parseDeadline,
  }),

  user: option({
    name: 'user',
    placeholder: 'NAME:PASSWORD',
    repeatable: 'lines',
    secret: true,
    group: 'Access',
    help: 'Let this user in. For trials: ps shows it to everybody on the machine.',
    parse: parseCredential,
  }),
  username: option({
    name: 'username',
    placeholder: 'NAME',
    // It may hold more than the name by mistake: name:password.
    secret: true,
    group: 'Access',
    help: 'With --password: one more user. Set SPLICEWAY_USERNAME and SPLICEWAY_PASSWORD from a Secret.',
    parse: parseUserName,
  }),
  password: option({
    name: 'password',
    placeholder: 'PASSWORD',
    secret: true,
    group: 'Access',
    help: 'The password of --username.',
    parse: parsePassword,
  }),
  noAuth: option({
    name: 'no-auth',
    default: 'false',
    group: 'Access',
    help: 'Ask nobody for credentials; only with loopback listeners.',
    parse: parseSwitch,
  }),
  allow: option({
    name: 'allow',
    placeholder: 'RULE',
    repeatable: 'words',
    group: 'Access',
    help: 'Allow destinations: HOST_PATTERN[:PORTS]. With any, only these; without, every host at 443 and 6443.',
    parse: ruleOption,
  }),
  deny: option({
    name: 'deny',
    placeholder: 'RULE',
    repeatable: 'words',
    group: 'Access',
    help: 'Deny destinations; wins over every --allow.',
    parse: ruleOption,
  }),

  upgrade: option({
    name: 'upgrade',
    placeholder: 'TOKEN[,TOKEN]|none',
    default: 'websocket,SPDY/3.1',
    group: 'Requests',
    help: 'Protocols that requests for http:// URLs may switch to by Upgrade; other offers are not forwarded.',
    parse: parseUpgrades,
  }),
  noVia: option({
    name: 'no-via',
    default: 'false',
    group: 'Requests',
    help: 'Add no Via to forwarded requests and their answers; loops of proxies then go unnoticed.',
    parse: parseSwitch,
  }),

  dnsTimeout: option({
    name: 'dns-timeout',
    placeholder: 'TIME',
    default: '10s',
    group: 'Dialling',
    help: 'For the name, all name servers and search domains together.',
    parse: parseDeadline,
  }),
  connectTimeout: option({
    name: 'connect-timeout',
    placeholder: 'TIME',
    default: '10s',
    group: 'Dialling',
    help: 'For one address.',
    parse: parseDeadline,
  }),
  parentTimeout: option({
    name: 'parent-timeout',
    placeholder: 'TIME',
    default: '30s',
    group: 'Dialling',
    help: 'For the answer of a parent, which has to reach the target first.',
    parse: parseDeadline,
  }),
  dialTimeout: option({
    name: 'dial-timeout',
    placeholder: 'TIME',
    default: '60s',
    group: 'Dialling',
    help: 'For names, addresses and retries together; stunnel gives up after 300s.',
    parse: parseDeadline,
  }),
  dialRetry: option({
    name: 'dial-retry',
    placeholder: 'TIME',
    default: '0s',
    group: 'Dialling',
    help: 'Keep trying so long before refusing, while a router restarts, say.',
    parse: parseDuration,
  }),

  parent: option({
    name: 'parent',
    placeholder: '[RULE=]WAY[,WAY...]',
    repeatable: 'words',
    // A way may hold a password.
    secret: true,
    group: 'Dialling',
    help: 'Reach what RULE fits, or everything, through other proxies, tried in order; the first --parent that fits counts. Without: direct.',
    parse: parentOption,
  }),

  relay: option({
    name: 'relay',
    placeholder: 'auto|splice|stream',
    default: 'auto',
    group: 'Tunnels',
    help: 'How bytes are moved; auto takes the best there is.',
    parse: oneOf(['auto', 'splice', 'stream']),
  }),
  relayThreads: option({
    name: 'relay-threads',
    placeholder: 'N',
    default: '0',
    group: 'Tunnels',
    help: 'Threads that the splice engine moves bytes with; 0 = one for each core.',
    parse: parseCount,
  }),
  idleTimeout: option({
    name: 'idle-timeout',
    placeholder: 'TIME',
    default: '12h',
    group: 'Tunnels',
    help: 'End a tunnel, or a forwarded request, silent in both directions for so long; 0 = never.',
    parse: parseDuration,
  }),
  halfCloseTimeout: option({
    name: 'half-close-timeout',
    placeholder: 'TIME',
    default: '1h',
    group: 'Tunnels',
    help: 'The same once one side has ended its half; 0 = never.',
    parse: parseDuration,
  }),
  keepalive: option({
    name: 'keepalive',
    placeholder: 'TIME',
    default: '60s',
    group: 'Tunnels',
    help: 'TCP keepalive on both sides after so much silence; 0 = none.',
    parse: parseKeepalive,
  }),
  userTimeout: option({
    name: 'user-timeout',
    placeholder: 'TIME',
    default: '0s',
    group: 'Tunnels',
    help: "End a tunnel whose peer takes no byte for so long (TCP_USER_TIMEOUT; splice engine), a reader that stalls included; 0 = the system's, some 15 minutes without an answer.",
    parse: parseDuration,
  }),

  maxTunnels: option({
    name: 'max-tunnels',
    placeholder: 'N',
    default: '0',
    group: 'Limits',
    help: 'Tunnels at once; 0 = as many as the limit of file descriptors holds.',
    parse: parseCount,
  }),
  maxTunnelsPerUser: option({
    name: 'max-tunnels-per-user',
    placeholder: 'N',
    default: '0',
    group: 'Limits',
    help: 'Tunnels at once for one user; 0 = no limit.',
    parse: parseCount,
  }),
  maxTunnelsPerClient: option({
    name: 'max-tunnels-per-client',
    placeholder: 'N',
    default: '0',
    group: 'Limits',
    help: 'Tunnels at once from one address; 0 = no limit. A NAT is one address.',
    parse: parseCount,
  }),

  drainWindow: option({
    name: 'drain-window',
    placeholder: 'TIME',
    default: '5s',
    group: 'Shutting down',
    help: 'After SIGTERM, go on accepting so long while /ready says 503.',
    parse: parseDuration,
  }),
  drainTimeout: option({
    name: 'drain-timeout',
    placeholder: 'TIME',
    default: '1h',
    group: 'Shutting down',
    help: 'Then wait so long for tunnels to end before cutting them; 0 = cut at once.',
    parse: parseDuration,
  }),

  logLevel: option({
    name: 'log-level',
    placeholder: 'LEVEL',
    default: 'info',
    group: 'Log',
    help: `${LOG_LEVELS.join(', ')}.`,
    parse: oneOf(LOG_LEVELS),
  }),
  logFormat: option({
    name: 'log-format',
    placeholder: 'json|pretty',
    group: 'Log',
    help: 'Default pretty on a terminal, otherwise json.',
    parse: oneOf(['json', 'pretty']),
  }),
} as const;

/** The configuration of `spliceway serve`, durations in milliseconds. */
export type Config = ConfigOf<typeof OPTIONS>;

/** One `--parent`. */
export interface ParentRow {
  /** What it is for; undefined: everything. */
  readonly rule: Rule | undefined;
  readonly ways: readonly WrittenWay[];
}

/** The users of a configuration. */
export function credentialsOf(config: Config): readonly Credential[] {
  const { username, password, user } = config;
  return username === undefined || password === undefined ? user : [...user, { name: username, password }];
}

function ruleOption(text: string): Parsed<Rule> {
  const rule = parseRule(text);
  return 'problem' in rule ? { problem: `is not a rule: ${rule.problem}` } : { value: rule };
}

/** `[RULE=]WAY[,WAY...]`: where `=` stands before any way, a rule stands before it. */
function parentOption(text: string): Parsed<ParentRow> {
  const [, ruleText, waysText = text] = /^((?:(?!:\/\/)[^=])*)=(.*)$/s.exec(text) ?? [];
  const rule = ruleText === undefined ? undefined : parseRule(ruleText);
  if (rule !== undefined && 'problem' in rule)
    return { problem: 'has something before = that is not a rule' };
  const ways = parseWays(waysText);
  if ('problem' in ways) return ways;
  return { value: { rule, ways } };
}
