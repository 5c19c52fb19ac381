import { randomBytes } from 'node:crypto';
import { mkdir, statfs } from 'node:fs/promises';

import { describeExit } from './child.js';
import type { Generation } from './configurations.js';
import { digestTree, type TreeDigest } from './digest.js';
import { type Excerpt, RehearsalFailure } from './failure.js';
import {
  makeKeyPair,
  type Party,
  type SplicewayParty,
  startRouter,
  startRsyncDaemon,
  startSpliceway,
  startStunnelClient,
  startStunnelServer,
} from './parties.js';
import { poll } from './poll.js';
import { describePrograms } from './programs.js';
import type { Progress } from './progress.js';
import { formatBytes } from './sizes.js';
import { probe, transfer } from './transfer.js';
import { generateTree } from './tree.js';
import { type LoggedTunnel, readTunnels, renderTunnels } from './tunnels.js';
import type { Workspace } from './workspace.js';

/** What to migrate and how. `relay` is spliceway's `--relay`; absent: its own choice. */
export interface MigrationOptions {
  readonly sizeBytes: number;
  readonly files: number;
  readonly generation: Generation;
  readonly relay?: string;
}

/** Who hears how it goes, while it goes. */
export interface MigrationListener {
  step(what: string, detail: string): void;
  progress(progress: Progress): void;
}

/** A migration that went through. It succeeded when both digests are equal. */
export interface Migration {
  readonly source: TreeDigest;
  readonly destination: TreeDigest;
  /** How long rsync ran, in seconds. */
  readonly seconds: number;
  readonly tunnels: readonly LoggedTunnel[];
  readonly stunnelClient: Party;
  readonly stunnelServer: Party;
  readonly spliceway: SplicewayParty;
}

/** The Route of the rehearsal. Names below `.localhost` lead to loopback (RFC 6761 §6.3). */
export const ROUTE_HOST = 'dvm-rehearsal.apps.target.localhost';

/**
 * The story of a Direct Volume Migration: a tree in the source, the daemon, stunnel and the router of the
 * destination, spliceway between them, stunnel in the source, MTC's probe, rsync, and a look at what has arrived.
 *
 * Everything that it starts and writes belongs to `workspace`, which the caller closes. Throws `RehearsalFailure`
 * when a step fails, and the workspace's reason when it is interrupted.
 */
export async function migrate(
  workspace: Workspace,
  options: MigrationOptions,
  listener: MigrationListener,
): Promise<Migration> {
  const { generation } = options;
  const source = workspace.path('source');
  const destination = workspace.path('destination');
  const module = 'rehearsal';
  const password = randomBytes(18).toString('base64url');
  const credentials = { username: 'rehearsal', password: randomBytes(18).toString('base64url') };

  await requireSpace(workspace, options.sizeBytes);
  listener.step('programs', await describePrograms(workspace.programs));
  await generateTree(source, { ...options, signal: workspace.signal });
  await mkdir(destination);
  const before = await digestTree(source, workspace.signal);
  listener.step('source', `${before.entries} entries, ${formatBytes(before.contentBytes)}`);

  const pair = await makeKeyPair(workspace);
  const daemon = await startRsyncDaemon(workspace, { module, directory: destination, password });
  const stunnelServer = await startStunnelServer(workspace, { ...pair, generation, rsyncPort: daemon.port });
  const router = await startRouter(workspace, {
    routeHost: ROUTE_HOST,
    stunnelPort: stunnelServer.port,
    // Where the generation's client goes: a Route is on 443, and crane asks for the port it listens on itself.
    preferredPort: generation === 'crane' ? 6443 : 443,
  });
  const target = `${ROUTE_HOST}:${router.port}`;
  listener.step('route', `${target} -> HAProxy -> stunnel -> rsync daemon`);

  const spliceway = await startSpliceway(workspace, {
    credentials,
    allow: [`dvm-*.apps.target.localhost:${router.port}`, `127.0.0.0/8:${router.port}`],
    ...(options.relay === undefined ? {} : { relay: options.relay }),
  });
  listener.step('spliceway', `127.0.0.1:${spliceway.port}, relay engine ${spliceway.engine}`);
  const proxyPort = spliceway.port;
  const stunnelClient = await startStunnelClient(workspace, {
    ...pair,
    generation,
    proxyPort,
    credentials,
    target,
  });
  listener.step(
    'stunnel',
    `127.0.0.1:${stunnelClient.port}, configured as ${describeGeneration(generation)} does it`,
  );

  await probe(workspace, stunnelClient.port);
  listener.step('probe', `nc -z localhost ${stunnelClient.port} succeeded`);
  const seconds = await transfer(workspace, {
    ...{ source, module, password, port: stunnelClient.port },
    onProgress: (progress) => listener.progress(progress),
  }).catch((error: unknown) => explainTransfer(workspace, error, { stunnelClient, spliceway, router }));

  const tunnels = await closedTunnels(workspace, spliceway, 2);
  const after = await digestTree(destination, workspace.signal);
  return { source: before, destination: after, seconds, tunnels, stunnelClient, stunnelServer, spliceway };
}

/** A generation for people: `MTC 1.6 and later (TLS 1.2)`. */
export function describeGeneration(generation: Generation): string {
  if (generation === 'crane') return 'crane (TLS 1.3)';
  return `MTC ${generation}${generation === '1.6' ? ' and later' : ''} (TLS 1.2)`;
}

/**
 * The tunnels in spliceway's log, once there are `atLeast` so many and all that were allowed have closed; after ten
 * seconds without that, as they are then.
 */
export async function closedTunnels(
  workspace: Workspace,
  spliceway: Party,
  atLeast: number,
): Promise<readonly LoggedTunnel[]> {
  const read = async (): Promise<readonly LoggedTunnel[]> => readTunnels(await spliceway.child.log());
  const closed = await poll(
    async () => {
      const tunnels = await read();
      return tunnels.length >= atLeast && tunnels.every((tunnel) => tunnel.closed) ? tunnels : undefined;
    },
    { timeoutMs: 10_000, signal: workspace.signal },
  );
  return closed ?? read();
}

async function requireSpace(workspace: Workspace, sizeBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(workspace.directory);
  const freeBytes = bavail * bsize;
  // Both trees, the logs, and a little for the file system itself.
  const neededBytes = Math.ceil(sizeBytes * 2.05) + 16 * 1024 * 1024;
  if (freeBytes >= neededBytes) return;
  throw new RehearsalFailure(
    `${formatBytes(sizeBytes)} need ${formatBytes(neededBytes)} in ${workspace.directory}, where ${formatBytes(freeBytes)} are free`,
    {
      remedy:
        'Choose a smaller --size, or a directory on a larger disk: TMPDIR=/var/tmp spliceway rehearse …',
    },
  );
}

// rsync itself can only say that its connection was closed: the reason stands in the other logs.
async function explainTransfer(
  workspace: Workspace,
  error: unknown,
  { stunnelClient, spliceway, router }: Record<'stunnelClient' | 'spliceway' | 'router', Party>,
): Promise<never> {
  if (!(error instanceof RehearsalFailure)) throw error;
  const tunnels = renderTunnels(await closedTunnels(workspace, spliceway, 1));
  throw new RehearsalFailure(error.message, {
    excerpts: [
      ...error.excerpts,
      await excerptOf(stunnelClient, /<- HTTP|LOG[0-4]\[\d|rejected|reset|refused/),
      { program: 'spliceway (its tunnels)', lines: tunnels },
      await excerptOf(spliceway, /"level":"(?:warn|error|fatal)"/),
      await excerptOf(router, /be_no_sni|ALERT|WARNING/),
    ],
    remedy: error.remedy,
  });
}

// With its end, if it has come to one: nobody had asked for that yet.
async function excerptOf({ child }: Party, pattern: RegExp): Promise<Excerpt> {
  const { program, lines } = await child.excerpt(pattern);
  const end = child.exit === undefined || child.exit.code === 0 ? [] : [`(it ${describeExit(child.exit)})`];
  return { program, lines: [...lines, ...end] };
}
