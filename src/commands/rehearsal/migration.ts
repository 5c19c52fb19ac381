import { randomBytes } from 'node:crypto';
import { mkdir, statfs } from 'node:fs/promises';
import type { Generation } from '../mtc/configurations.js';
import type { ProxyKind } from './chain.js';
import { describeExit } from './child.js';
import { digestTree, type TreeDigest } from './digest.js';
import { type Excerpt, RehearsalFailure } from './failure.js';
import {
  makeKeyPair,
  type Party,
  startRouter,
  startRsyncDaemon,
  startStunnelClient,
  startStunnelServer,
} from './parties.js';
import { poll } from './poll.js';
import { describePrograms } from './programs.js';
import type { Progress } from './progress.js';
import { type RowProxy, startRow } from './row.js';
import { openScene } from './scene.js';
import { formatBytes } from './sizes.js';
import { probe, transfer } from './transfer.js';
import { generateTree } from './tree.js';
import { type LoggedTunnel, readTunnels, renderTunnels } from './tunnels.js';
import type { Workspace } from './workspace.js';

/**
 * What to migrate and how. `relay` is spliceway's `--relay`; absent: its own choice. `chain` are the proxies from the
 * source to the target, each in a network namespace of its own; absent: one spliceway, all on loopback.
 */
export interface MigrationOptions {
  readonly sizeBytes: number;
  readonly files: number;
  readonly generation: Generation;
  readonly relay?: string;
  readonly chain?: readonly ProxyKind[];
}

/** Who hears how it goes, while it goes. */
export interface MigrationListener {
  step(what: string, detail: string): void;
  progress(progress: Progress): void;
}

/** The tunnels as one proxy saw them. */
export interface SeenTunnels {
  readonly name: string;
  /** Of a Squid, whose log says less: none. */
  readonly tunnels: readonly LoggedTunnel[];
  /** All of them, for people. */
  readonly lines: readonly string[];
}

/** A migration that went through. It succeeded when both digests are equal. */
export interface Migration {
  readonly source: TreeDigest;
  readonly destination: TreeDigest;
  /** How long rsync ran, in seconds. */
  readonly seconds: number;
  /** From the source to the target. */
  readonly row: readonly RowProxy[];
  /** What each of `row` saw, in the same order. */
  readonly seen: readonly SeenTunnels[];
  readonly stunnelClient: Party;
  readonly stunnelServer: Party;
}

/**
 * The story of a Direct Volume Migration: a tree in the source, the daemon, stunnel and the router of the
 * destination, the proxies between them, stunnel in the source, MTC's probe, rsync, and a look at what has arrived.
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

  await requireSpace(workspace, options.sizeBytes);
  listener.step('programs', await describePrograms(workspace.programs));
  await generateTree(source, { ...options, signal: workspace.signal });
  await mkdir(destination);
  const before = await digestTree(source, workspace.signal);
  listener.step('source', `${before.entries} entries, ${formatBytes(before.contentBytes)}`);

  const scene = await openScene(workspace, options.chain);
  for (const [what, detail] of scene.steps) listener.step(what, detail);
  const { routeHost } = scene;
  const pair = await makeKeyPair(workspace);
  const daemon = await startRsyncDaemon(scene.target, {
    ...{ module, directory: destination, password, generation },
  });
  const { port: rsyncPort } = daemon;
  const stunnelServer = await startStunnelServer(scene.target, { ...pair, generation, rsyncPort });
  const router = await startRouter(scene.target, {
    routeHost,
    stunnelPort: stunnelServer.port,
    // Where the generation's client goes: a Route is on 443, and crane asks for the port it listens on itself.
    preferredPort: generation === 'crane' ? 6443 : 443,
  });
  const target = `${routeHost}:${router.port}`;
  listener.step('route', `${target} -> HAProxy -> stunnel -> rsync daemon`);

  const row = await startRow(scene.proxies, {
    ...{ kinds: options.chain ?? ['spliceway'], target: { host: routeHost, port: router.port } },
    allow: scene.allow.map((host) => `${host}:${router.port}`),
    ...(options.relay === undefined ? {} : { relay: options.relay }),
    onStart: (proxy, parent) => listener.step(proxy.name, describeProxy(proxy, parent)),
  });
  const [first] = row;
  if (first === undefined) throw new Error('a row has at least one proxy');
  const stunnelClient = await startStunnelClient(scene.source, {
    ...{ ...pair, generation, target },
    ...{ proxyAddress: first.address, proxyPort: first.port, credentials: first.credentials },
  });
  listener.step(
    'stunnel',
    `127.0.0.1:${stunnelClient.port}, configured as ${describeGeneration(generation)} does it`,
  );

  await probe(scene.source, stunnelClient.port);
  listener.step('probe', `nc -z localhost ${stunnelClient.port} succeeded`);
  const seconds = await transfer(scene.source, {
    ...{ source, module, password, port: stunnelClient.port },
    onProgress: (progress) => listener.progress(progress),
  }).catch((error: unknown) => explainTransfer(workspace, error, { stunnelClient, row, router }));

  const seen = await Promise.all(row.map((proxy) => seenBy(workspace, proxy, 2)));
  const after = await digestTree(destination, workspace.signal);
  return { source: before, destination: after, seconds, row, seen, stunnelClient, stunnelServer };
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

function describeProxy(proxy: RowProxy, parent: RowProxy | undefined): string {
  const where = `${proxy.address}:${proxy.port}`;
  const engine = proxy.kind === 'spliceway' ? `, relay engine ${proxy.party.engine}` : '';
  return `${where}${engine}${parent === undefined ? '' : `, parent ${parent.address}:${parent.port}`}`;
}

async function seenBy(workspace: Workspace, proxy: RowProxy, atLeast: number): Promise<SeenTunnels> {
  const { name } = proxy;
  if (proxy.kind === 'spliceway') {
    const tunnels = await closedTunnels(workspace, proxy.party, atLeast);
    return { name, tunnels, lines: tunnels.length === 0 ? ['(none)'] : renderTunnels(tunnels) };
  }
  const { party } = proxy;
  const ended = await poll(
    async () => {
      const requests = await party.requests();
      return requests.length >= atLeast ? requests : undefined;
    },
    { timeoutMs: 10_000, signal: workspace.signal },
  );
  const lines = ended ?? (await party.requests());
  return { name, tunnels: [], lines: lines.length === 0 ? ['(none)'] : lines };
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
  {
    stunnelClient,
    row,
    router,
  }: { readonly stunnelClient: Party; readonly row: readonly RowProxy[]; readonly router: Party },
): Promise<never> {
  if (!(error instanceof RehearsalFailure)) throw error;
  const proxies = row.map(async (proxy, index) => [
    // Those behind the one that failed may have seen nothing, and need not be waited for.
    { program: `${proxy.name} (its tunnels)`, lines: (await seenBy(workspace, proxy, 1 - index)).lines },
    await excerptOf(proxy.party, /"level":"(?:warn|error|fatal)"|FATAL|ERROR/),
  ]);
  throw new RehearsalFailure(error.message, {
    excerpts: [
      ...error.excerpts,
      await excerptOf(stunnelClient, /<- HTTP|LOG[0-4]\[\d|rejected|reset|refused/),
      ...(await Promise.all(proxies)).flat(),
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
