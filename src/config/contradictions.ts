import { type ForwardConfig, waysOf } from './forward-options.js';
import type { Inventory } from './manifest-options.js';
import type { Config } from './options.js';
import { isLoopback } from './parsers.js';
import type { Contradiction } from './table.js';

const listenedOnTwice: Contradiction<Pick<Config, 'listen' | 'admin'>> = {
  between: ['listen', 'admin'],
  find({ listen, admin }) {
    const all = [...listen, ...(admin === 'off' ? [] : [admin])].filter(({ port }) => port !== 0);
    const names = all.map(({ host, port }) => `${host} port ${port}`);
    const twice = new Set(names.filter((name, at) => names.indexOf(name) !== at));
    return [...twice].map((name) => `${name} is to be listened on twice`);
  },
};

const retriesTooLong: Contradiction<Pick<Config, 'dialRetry' | 'dialTimeout'>> = {
  between: ['dialRetry', 'dialTimeout'],
  find: ({ dialRetry, dialTimeout }) =>
    dialRetry < dialTimeout
      ? []
      : ['--dial-retry must be shorter than --dial-timeout, which covers it: raise --dial-timeout'],
};

/** What the options of `spliceway serve` must not say together. */
export const SERVE_CONTRADICTIONS: readonly Contradiction<Config>[] = [
  {
    between: ['username', 'password'],
    find: ({ username, password }) =>
      (username === undefined) === (password === undefined)
        ? []
        : [
            `--username and --password go together, but ${
              username === undefined ? 'SPLICEWAY_USERNAME' : 'SPLICEWAY_PASSWORD'
            } is empty or not set`,
          ],
  },
  {
    between: ['noAuth', 'user', 'username'],
    find: ({ noAuth, user, username }) =>
      noAuth && (user.length > 0 || username !== undefined)
        ? ['--no-auth contradicts --user, --username and --password: give one or the other']
        : [],
  },
  {
    between: ['noAuth', 'listen'],
    find({ noAuth, listen }) {
      const open = listen.filter(({ host }) => !isLoopback(host)).map(({ host }) => host);
      return noAuth && open.length > 0
        ? [
            `--no-auth needs every --listen on loopback (127.0.0.1, [::1]), but ${open.join(', ')} can be reached from outside: anybody could tunnel`,
          ]
        : [];
    },
  },
  listenedOnTwice,
  retriesTooLong,
];

/** What the options of `spliceway forward` must not say together. */
export const FORWARD_CONTRADICTIONS: readonly Contradiction<ForwardConfig>[] = [
  listenedOnTwice,
  retriesTooLong,
  {
    between: ['target', 'parent'],
    find: (config) =>
      waysOf(config) === undefined
        ? ['no --parent is for the target: leave out RULE=, or add --parent direct']
        : [],
  },
];

/** What the options of `spliceway manifest` must not say together. */
export const MANIFEST_CONTRADICTIONS: readonly Contradiction<Inventory>[] = [
  {
    between: ['replicas', 'maxReplicas'],
    find: ({ replicas, maxReplicas }) =>
      replicas <= maxReplicas ? [] : ['--max-replicas must not be less than --replicas'],
  },
  {
    between: ['merge', 'unmerge'],
    find: ({ merge, unmerge }) =>
      merge.length === 0 || unmerge.length === 0
        ? []
        : ['--merge puts rules in and --unmerge takes them out: give one or the other'],
  },
];
