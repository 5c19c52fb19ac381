import { execFile } from 'node:child_process';
import { chmod } from 'node:fs/promises';
import { promisify } from 'node:util';

import type { Child } from './child.js';
import { RehearsalFailure } from './failure.js';
import type { Place } from './place.js';
import { findPrograms, LINE_PROGRAMS } from './programs.js';
import type { Workspace } from './workspace.js';

/**
 * Network namespaces in a line: the source, the proxies, the target. Each is joined to its neighbours by a veth pair
 * and to nothing else, and forwards nothing; the last proxy alone knows the target's name.
 */
export interface Line {
  /** The workspace as it is seen from each place. */
  readonly source: Workspace;
  readonly proxies: readonly Workspace[];
  readonly target: Workspace;
  /** What was done to prove that source and target have no other way to each other, in a line. */
  readonly proof: string;
}

/**
 * Makes the line. The process needs the rights of root in the network namespace that it is in (veth(4)), of which
 * nothing is changed. `routeHost` is the name of the target.
 *
 * The namespaces have no names: programs of the workspace hold them, and they go with those. Throws `RehearsalFailure`
 * where the system refuses, and where anybody in the line reaches others than his neighbours.
 */
export async function openLine(
  workspace: Workspace,
  { proxies, routeHost }: { readonly proxies: number; readonly routeHost: string },
): Promise<Line> {
  const programs = await findPrograms(LINE_PROGRAMS);
  const names = ['source', ...Array.from({ length: proxies }, (_, index) => `proxy ${index + 1}`), 'target'];
  const hosts = '127.0.0.1 localhost\n::1 localhost\n';
  const hostsFile = await publicFile(workspace, 'hosts', hosts);
  const targetAddress = addressesOf(proxies + 1).back;
  const lastHostsFile = await publicFile(workspace, 'last-hosts', `${hosts}${targetAddress} ${routeHost}\n`);

  const holders: Child[] = [];
  for (const [index, name] of names.entries()) {
    const file = index === proxies ? lastHostsFile : hostsFile;
    const argv = ['--net', '--mount', '/bin/sh', '-ec', HOLD, 'sh', programs.mount, programs.ip, file];
    holders.push(await workspace.start(`holder of ${name}`, programs.unshare, argv));
  }
  await Promise.all(holders.map((holder) => holder.untilLogged(/^ready$/m)));
  const stops = holders.map(({ pid }, index): Stop => {
    const { back, onward } = addressesOf(index);
    const enter = [programs.nsenter, `--net=/proc/${pid}/ns/net`, `--mount=/proc/${pid}/ns/mnt`];
    const address = index === 0 ? onward : back;
    return { index, pid, place: { name: names[index] ?? '', address, enter, ports: 'own' } };
  });
  const ip = (enter: readonly string[], ...args: readonly string[]): Promise<Answer> =>
    ask(workspace, [...enter, programs.ip], args);

  for (const [index, stop] of stops.entries()) {
    const next = stops[index + 1];
    if (next === undefined) break;
    const ends = ['onward', 'netns', `${stop.pid}`, 'type', 'veth', 'peer', 'name', 'back', 'netns'];
    demand(await ip([], 'link', 'add', ...ends, `${next.pid}`));
    for (const [{ place }, link, address] of [
      [stop, 'onward', addressesOf(index).onward],
      [next, 'back', addressesOf(index + 1).back],
    ] as const) {
      demand(await ip(place.enter, 'address', 'add', `${address}/30`, 'dev', link));
      demand(await ip(place.enter, 'link', 'set', link, 'up'));
    }
  }
  const proof = await proveSeparation(stops, ip);
  const views = stops.map(({ place }) => workspace.at(place));
  const [source, target] = [views[0], views.at(-1)];
  if (source === undefined || target === undefined) throw new Error('a line has two ends');
  return { source, proxies: views.slice(1, -1), target, proof };
}

interface Stop {
  readonly index: number;
  readonly pid: number;
  readonly place: Place;
}

/** What a program answered: `error` is what it said on standard error when it failed. */
interface Answer {
  readonly command: string;
  readonly error?: string;
}

// In namespaces of its own by now. A new network namespace may inherit that it forwards (ip-sysctl.rst,
// devconf_inherit_init_net). /dev/shm: Squid leaves files there.
const HOLD = `
mount=$1 ip=$2 hosts=$3 net=/proc/sys/net
"$mount" --bind "$hosts" /etc/hosts
[ ! -d /dev/shm ] || "$mount" -t tmpfs none /dev/shm
echo 0 >$net/ipv4/ip_forward
echo 0 >$net/ipv4/ip_unprivileged_port_start
[ ! -e $net/ipv6 ] || echo 1 >$net/ipv6/conf/default/disable_ipv6
if [ "$(cat $net/ipv4/ip_forward)" != 0 ]; then echo 'it forwards' >&2; exit 1; fi
"$ip" link set lo up
echo ready
exec sleep infinity
`;

// Of two neighbours, the one nearer to the source has .1 and the other .2 of a range that is theirs alone. The ends
// of the line have one of the two.
function addressesOf(index: number): { readonly back: string; readonly onward: string } {
  return { back: `10.99.${index - 1}.2`, onward: `10.99.${index}.1` };
}

// Bind-mounted, and read by programs that are not root.
async function publicFile(workspace: Workspace, name: string, text: string): Promise<string> {
  const file = await workspace.write(name, text);
  await chmod(file, 0o644);
  return file;
}

async function proveSeparation(
  stops: readonly Stop[],
  ip: (enter: readonly string[], ...args: readonly string[]) => Promise<Answer>,
): Promise<string> {
  const ends: string[] = [];
  for (const from of stops) {
    for (const to of stops) {
      const distance = Math.abs(from.index - to.index);
      if (distance === 0) continue;
      const { back, onward } = addressesOf(to.index);
      // Of a neighbour, the address at this end of the link.
      const answer = await ip(from.place.enter, 'route', 'get', to.index < from.index ? onward : back);
      const reached = answer.error === undefined;
      if (reached !== (distance === 1)) {
        throw new RehearsalFailure(
          `${from.place.name} has ${reached ? 'a way' : 'no way'} to ${to.place.name}: ${answer.command}`,
          { remedy: 'Report this: the network namespaces are not what was asked for.' },
        );
      }
      if (distance === stops.length - 1) {
        ends.push(`in the ${from.place.name} ${answer.command}: ${answer.error}`);
      }
    }
  }
  return ends.join('; ');
}

async function ask(
  workspace: Workspace,
  [program = '', ...before]: readonly string[],
  args: readonly string[],
): Promise<Answer> {
  workspace.signal.throwIfAborted();
  const command = `ip ${args.join(' ')}`;
  try {
    await promisify(execFile)(program, [...before, ...args], { timeout: 10_000 });
    return { command };
  } catch (error) {
    // With this execFile rejects; without standard error where the program could not be started.
    const { stderr, message } = error as Error & { readonly stderr?: string };
    return { command, error: stderr?.trim() || message };
  }
}

function demand({ command, error }: Answer): void {
  if (error === undefined) return;
  throw new RehearsalFailure(`${command}: ${error}`, {
    remedy:
      'The kernel must have veth pairs and IPv4 (modprobe veth), and grant both to this user: try it as root.',
  });
}
