import { chownSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Contender, Setup } from './contenders.js';
import { BenchError, type Child, MAY_CHANGE_USER, UNPRIVILEGED } from './processes.js';
import type { Theatre } from './stage.js';

/** A contender that runs. */
export interface RunningContender {
  readonly child: Child;
  /** Where it takes connections to each server; the same port for both where the client names the target. */
  readonly ports: { readonly common: number; readonly prompt: number };
}

/** Starts a contender as {@link UNPRIVILEGED} in its place; undefined for `direct`. It need not listen yet. */
export async function startContender(
  { network, processes, folder: parent }: Theatre,
  contender: Contender,
  servers: RunningContender['ports'],
): Promise<RunningContender | undefined> {
  if (contender.setup === undefined) return undefined;
  const ports = await freePorts(2);
  const [first = 0, second = 0] = ports;
  const folder = mkdtempSync(join(parent, `${contender.name}-`));
  const setup = contender.setup({
    address: network.proxyAddress,
    ports,
    targets: [
      `${network.target.fromProxy}:${servers.common}`,
      `${network.target.fromProxy}:${servers.prompt}`,
    ],
    range: network.range,
    folder,
  });
  writeFiles(folder, setup);
  const child = processes.start({
    name: contender.name,
    argv: setup.argv,
    enter: network.enter('proxy'),
    unprivileged: true,
    cwd: folder,
    ...(setup.env && { env: setup.env }),
  });
  return { child, ports: { common: first, prompt: contender.speaks === 'forward' ? second : first } };
}

/** Where this tree lies, which is nobody's business. */
const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** The configuration of a contender for a reader, with example addresses. */
export function describeSetup(contender: Contender): string {
  if (contender.setup === undefined) return '';
  const { argv, env, files } = contender.setup({
    address: '127.0.0.1',
    ports: [3128, 3129],
    targets: ['127.0.0.1:5001', '127.0.0.1:5002'],
    range: '127.0.0.0/8',
    folder: '/tmp/bench',
  });
  const variables = Object.entries(env ?? {}).map(([name, value]) => `${name}=${value} `);
  const contents = Object.entries(files ?? {}).map(([name, text]) => `\n--- ${name}\n${text}`);
  return `$ ${variables.join('')}${argv.join(' ')}\n${contents.join('')}`.replaceAll(ROOT, '');
}

function writeFiles(folder: string, { files }: Setup): void {
  const own = (path: string) => {
    if (MAY_CHANGE_USER) chownSync(path, UNPRIVILEGED, UNPRIVILEGED);
  };
  own(folder);
  for (const [name, text] of Object.entries(files ?? {})) {
    writeFileSync(join(folder, name), text, { mode: 0o600 });
    own(join(folder, name));
  }
}

/** Ports below this are left to the machine's own services. */
const PORTS_FROM = 10_240;
const ATTEMPTS = 100;

/**
 * Different ports that were free a moment ago, below those that the kernel gives to whoever dials: one of these may be taken until the
 * contender listens, and a client that tries a port of its own range may even connect to itself.
 *
 * @throws BenchError where there are none
 */
async function freePorts(count: number): Promise<number[]> {
  const range = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8');
  const below = Number.parseInt(range, 10);
  const ports = new Set<number>();
  for (let attempt = 0; attempt < ATTEMPTS && ports.size < count; attempt++) {
    const port = PORTS_FROM + Math.floor(Math.random() * Math.max(below - PORTS_FROM, 1));
    if (await isFree(port)) ports.add(port);
  }
  if (ports.size < count) throw new BenchError(`no free ports from ${PORTS_FROM} to ${below}`);
  return [...ports];
}

/** Binds and closes. */
async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  const free = await new Promise<boolean>((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => resolve(true));
  });
  if (free) await new Promise((resolve) => server.close(resolve));
  return free;
}
