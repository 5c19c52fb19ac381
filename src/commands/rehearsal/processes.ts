import { readdir, readFile, readlink } from 'node:fs/promises';

/**
 * The living processes whose environment has this variable with this value: a program, and all that came of it, even
 * what has left its process group (stunnel goes into a session of its own, as MTC lets it). Zombies do not count:
 * nobody may ever reap them in a container.
 *
 * Source: proc_pid_environ(5), which is empty for a zombie.
 */
export async function processesWith(variable: string, value: string): Promise<readonly number[]> {
  const wanted = `${variable}=${value}`;
  const found: number[] = [];
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const environment = await readOrEmpty(`/proc/${entry}/environ`);
    if (environment.split('\0').includes(wanted)) found.push(Number(entry));
  }
  return found;
}

/**
 * Whether one of these processes itself listens on this TCP port (IPv4) of the network namespace that it is in.
 * Asked of the kernel instead of by connecting: a connection to the stunnel client would open a tunnel, and a
 * stranger may answer on a stolen port.
 *
 * Source: proc_pid_net(5), table `tcp`: state 0A is LISTEN, the tenth field the socket's inode.
 */
export async function isListening(pids: readonly number[], port: number): Promise<boolean> {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  for (const pid of pids) {
    const lines = (await readOrEmpty(`/proc/${pid}/net/tcp`)).split('\n');
    const inodes = new Set(
      lines
        .map((line) => line.trim().split(/\s+/))
        .filter(([, local, , state]) => local?.endsWith(wanted) === true && state === '0A')
        .map((fields) => `socket:[${fields[9]}]`),
    );
    if (inodes.size === 0) continue;
    const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []);
    const links = descriptors.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => ''));
    if ((await Promise.all(links)).some((link) => inodes.has(link))) return true;
  }
  return false;
}

// A process may end between being listed and being read, and other users' may not be read at all.
function readOrEmpty(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => '');
}
