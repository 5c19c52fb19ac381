import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { BenchError, SYSTEM_PATH } from './processes.js';

/** The three places of a trial. */
export type Place = 'source' | 'proxy' | 'target';

/** Where the processes of a trial run, and how they reach each other. All addresses are IPv4. */
export interface Network {
  readonly name: string;
  /** For `--allow`: what holds every address below. */
  readonly range: string;
  /** Where a contender listens, and what the source calls it. */
  readonly proxyAddress: string;
  /** Where a server listens. */
  readonly listenAddress: string;
  /** What the proxy, and the source, calls the target. */
  readonly target: { readonly fromProxy: string; readonly fromSource: string };
  /** A command that runs another in a place. */
  enter(place: Place): readonly string[];
  /** Takes it down; synchronous, so that an exit handler may call it. */
  remove(): void;
}

/** Everything at 127.0.0.1. */
export const LOOPBACK: Network = {
  name: 'loopback',
  range: '127.0.0.0/8',
  proxyAddress: '127.0.0.1',
  listenAddress: '127.0.0.1',
  target: { fromProxy: '127.0.0.1', fromSource: '127.0.0.1' },
  enter: () => [],
  remove: () => {},
};

const PREFIX = 'spliceway-bench-';

/**
 * Makes three network namespaces, each two of them joined by a veth pair, with addresses of the range that is set aside for benchmarks
 * (198.18.0.0/15, RFC 2544). Nothing in them reaches the machine's own network, and the reverse. Those that a bench left
 * behind that was killed are removed.
 *
 * @throws BenchError where this process is not root or the system refuses
 */
export function makeNamespaces(): Network {
  if (process.getuid?.() !== 0)
    throw new BenchError(
      '--netns makes network namespaces, which takes root: run it with sudo, or without --netns',
    );
  removeAbandoned();
  const names = {
    source: `${PREFIX}${process.pid}-source`,
    proxy: `${PREFIX}${process.pid}-proxy`,
    target: `${PREFIX}${process.pid}-target`,
  };
  const remove = () => {
    for (const name of Object.values(names))
      if (existsSync(`/run/netns/${name}`)) ip('netns', 'delete', name);
  };
  try {
    for (const name of Object.values(names)) {
      ip('netns', 'add', name);
      ip('-n', name, 'link', 'set', 'lo', 'up');
    }
    join([names.source, '198.18.1.1'], [names.proxy, '198.18.1.2'], 'source-proxy');
    join([names.proxy, '198.18.2.1'], [names.target, '198.18.2.2'], 'proxy-target');
    join([names.source, '198.18.3.1'], [names.target, '198.18.3.2'], 'direct');
  } catch (error) {
    remove();
    throw error;
  }
  return {
    name: 'three network namespaces',
    range: '198.18.0.0/15',
    proxyAddress: '198.18.1.2',
    listenAddress: '0.0.0.0',
    target: { fromProxy: '198.18.2.2', fromSource: '198.18.3.2' },
    enter: (place) => ['nsenter', `--net=/run/netns/${names[place]}`],
    remove,
  };
}

type End = readonly [namespace: string, address: string];

/** A veth pair of that name, one end in each namespace, named alike in both. */
function join([left, leftAddress]: End, [right, rightAddress]: End, name: string): void {
  ip('-n', left, 'link', 'add', name, 'type', 'veth', 'peer', 'name', name, 'netns', right);
  for (const [namespace, address] of [
    [left, leftAddress],
    [right, rightAddress],
  ] as const) {
    ip('-n', namespace, 'address', 'add', `${address}/30`, 'dev', name);
    ip('-n', namespace, 'link', 'set', name, 'up');
  }
}

function removeAbandoned(): void {
  if (!existsSync('/run/netns')) return;
  for (const name of readdirSync('/run/netns')) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) ip('netns', 'delete', name);
  }
}

function ip(...argv: string[]): void {
  try {
    execFileSync('ip', argv, { env: { PATH: SYSTEM_PATH }, stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: Buffer };
    throw new BenchError(`ip ${argv.join(' ')}: ${stderr?.toString().trim() || message} (Debian: iproute2)`);
  }
}
