import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { AddressInfo, Server } from 'node:net';
import { availableParallelism } from 'node:os';
import type { Logger } from 'pino';
import { basicAuthenticator, type Credential, everybody } from '../access/credentials.js';
import { createFailureThrottle, createTunnelSlots } from '../access/limits.js';
import { createPolicy, matches } from '../access/policy.js';
import { banner } from '../config/banner.js';
import { loadConfig } from '../config/load.js';
import { credentialsOf } from '../config/options.js';
import type { ListenAddress } from '../config/parsers.js';
import { createAdmin } from '../observe/admin.js';
import { createLog } from '../observe/log.js';
import { createMetrics, type Metrics } from '../observe/metrics.js';
import { pickRelay } from '../relay/engines.js';
import { RELAY_CAUSES } from '../relay/relay.js';
import { drain } from '../server/drain.js';
import { isBoundTo, Listener } from '../server/listener.js';
import { formatAuthority } from '../target.js';

/** What the command does, in one line. */
export const SERVE_SUMMARY = 'run the proxy';

/** What the command needs of its process. */
export interface ServeProcess {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
}

/**
 * Runs the proxy until a signal ends it: the only place that builds everything.
 *
 * @returns exit code: 0 drained, 1 when tunnels were cut or it could not start
 * @throws ConfigError where the options hold mistakes
 */
export async function serve(argv: readonly string[], { env, version }: ServeProcess): Promise<number> {
  const { config, warnings } = loadConfig(argv, env);
  const threads = config.relayThreads || usableCores();
  const picked = pickRelay(config.relay, { threads, userTimeoutMs: config.userTimeout });
  const metrics = createMetrics({
    version,
    engine: picked.engine.name,
    absentEngines: picked.absent,
    causes: RELAY_CAUSES,
    parents: config.parent.flatMap(({ ways }) => ways.flatMap((way) => ('name' in way ? [way.name] : []))),
    relayTotals: picked.engine.totals?.bind(picked.engine),
  });
  const log = createLog({
    logLevel: config.logLevel,
    logFormat: config.logFormat ?? (process.stderr.isTTY ? 'pretty' : 'json'),
    onDropped: (records) => metrics.logRecordsDropped(records),
  });
  const { logger } = log;
  const configured = credentialsOf(config);
  const invented = configured.length === 0 && !config.noAuth ? inventCredential() : undefined;
  const credentials = invented === undefined ? configured : [invented];
  const descriptors = descriptorLimit();
  const room = roomForTunnels(
    descriptors,
    picked.engine.name === 'splice' ? descriptorsOfSplice(threads, descriptors) : 0,
    config.maxTunnels,
  );

  let phase: 'starting' | 'serving' | 'draining' = 'starting';
  const admin =
    config.admin === 'off' ? undefined : createAdmin({ metrics, isReady: () => phase === 'serving' });
  const adminBound: AddressInfo[] = [];
  const isOwnListener = (address: string, port: number) =>
    listener.isOwn(address, port) || isBoundTo(adminBound, address, port);
  const listener: Listener = new Listener(
    { listen: config.listen, handshakeTimeoutMs: config.handshakeTimeout, maxConnections: room.connections },
    {
      authenticator: config.noAuth ? everybody : basicAuthenticator(credentials, createFailureThrottle()),
      policy: createPolicy({ ...config, isOwnListener }),
      slots: createTunnelSlots({ ...config, maxTunnels: room.tunnels }),
      dialOptions: {
        dnsTimeoutMs: config.dnsTimeout,
        connectTimeoutMs: config.connectTimeout,
        dialTimeoutMs: config.dialTimeout,
        dialRetryMs: config.dialRetry,
        routes: config.parent.map(({ rule, ways }) => ({
          ways,
          fits: (target) => rule === undefined || matches(rule, target),
        })),
        isOwnListener,
        viaName: `spliceway-${randomBytes(4).toString('hex')}`,
      },
      engine: picked.engine,
      relayOptions: {
        keepaliveMs: config.keepalive,
        idleTimeoutMs: config.idleTimeout,
        halfCloseTimeoutMs: config.halfCloseTimeout,
      },
      metrics,
      logger,
      lingerMs: config.lingerTimeout,
    },
  );

  if (admin !== undefined && config.admin !== 'off')
    adminBound.push(await openAdmin(admin, config.admin, logger));
  await listener.open().catch(explainListen('--listen'));
  // From here on there may be tunnels, and no mistake of ours may end somebody else's.
  surviveErrors(metrics, logger);
  phase = 'serving';
  const [adminAddress] = adminBound.map(({ address, port }) => formatAuthority(address, port));
  const facts = { addresses: listener.addresses, adminAddress };
  process.stdout.on('error', () => {});
  process.stdout.write(banner({ version, config, credentials, invented, picked, ...facts }));
  const idle =
    config.userTimeout > 0 && picked.engine.name !== 'splice'
      ? [`--user-timeout has no effect: the relay engine is ${picked.engine.name}`]
      : [];
  for (const warning of [...warnings, ...room.warnings, ...idle]) logger.warn({ event: 'warning' }, warning);
  logger.info(
    {
      event: 'listening',
      version,
      listeners: facts.addresses,
      admin: facts.adminAddress ?? 'off',
      engine: picked.engine.name,
      absentEngines: picked.absent,
      maxTunnels: room.tunnels,
    },
    'listening',
  );

  const cutNow = new AbortController();
  const signal = await firstSignal(() => cutNow.abort());
  phase = 'draining';
  metrics.draining();
  logger.info(
    { event: 'draining', signal, tunnels: listener.tunnels },
    'draining; a second signal cuts the tunnels',
  );
  const cut = await drain(
    listener,
    {
      windowMs: config.drainWindow,
      timeoutMs: config.drainTimeout,
      onProgress: (tunnels) =>
        logger.info({ event: 'draining', tunnels }, `waiting for ${tunnels} tunnels to end`),
    },
    cutNow.signal,
  );
  if (cut === 0) logger.info({ event: 'stopped', cut }, 'drained');
  else logger.warn({ event: 'stopped', cut }, `${cut} tunnels were cut`);
  admin?.close();
  await log.close();
  return cut === 0 ? 0 : 1;
}

async function openAdmin(admin: Server, at: ListenAddress, logger: Logger): Promise<AddressInfo> {
  admin.listen(at);
  await once(admin, 'listening').catch(explainListen('--admin'));
  admin.on('error', (error) =>
    logger.warn({ err: error }, 'the admin listener could not accept a connection'),
  );
  return admin.address() as AddressInfo; // A TCP server that listens has one.
}

function surviveErrors(metrics: Metrics, logger: Logger): void {
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (error: unknown) => {
      metrics.uncaughtError();
      logger.error(
        { event: 'uncaught', err: error },
        'an error that nothing caught; the tunnels go on. Please report it',
      );
    });
  }
}

/**
 * How far apart the same signal may come twice and be one wish, in milliseconds: whoever stops a process group or a control group
 * signals `npm start` as well as the proxy, and npm passes its own on.
 */
const SAME_WISH_MS = 250;

/** Resolves with the first signal; each further one calls back. */
function firstSignal(onAnother: () => void): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let first: { readonly signal: NodeJS.Signals; readonly atMs: number } | undefined;
    const onSignal = (signal: NodeJS.Signals) => {
      const again =
        first !== undefined && (signal !== first.signal || performance.now() - first.atMs > SAME_WISH_MS);
      if (again) onAnother();
      first ??= { signal, atMs: performance.now() };
      resolve(signal);
    };
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, onSignal);
  });
}

/** Descriptors that are not for tunnels: libuv's own, the listeners, the log, name servers, scrapes. */
const RESERVED_DESCRIPTORS = 64;

/**
 * What the native core may need beside the tunnels' own: two for each thread, and pipes while bytes are in them. Without a pipe it
 * copies, so that few descriptors are better spent on tunnels.
 */
function descriptorsOfSplice(threads: number, descriptors: number): number {
  return 2 * threads + Math.min(2 * PIPES, Math.floor(descriptors / 8));
}

/** As many as the 64 MiB of pipes of an unprivileged user make: pipe(7), pipe-user-pages-soft. */
const PIPES = 64;

/** Cores that this process may use: Node before 22.12 does not know the CPU limit of a container (cgroup v2, cpu.max). */
function usableCores(): number {
  try {
    const [quota, period] = readFileSync('/sys/fs/cgroup/cpu.max', 'latin1').split(' ');
    const cores = Math.ceil(Number(quota) / Number(period));
    if (cores >= 1) return Math.min(cores, availableParallelism());
  } catch {
    // No such file, no such limit.
  }
  return availableParallelism();
}

/** What fits into the descriptors of this process. */
interface Room {
  readonly tunnels: number;
  readonly connections: number;
  readonly warnings: readonly string[];
}

/**
 * How many tunnels and connections fit: a tunnel holds two descriptors; a tenth of the room is left for connections that are being
 * refused, so that refusing needs no descriptor that is not there.
 *
 * @param ofEngine what the relay engine needs for itself
 * @param wanted tunnels asked for; 0: as many as fit
 */
function roomForTunnels(descriptors: number, ofEngine: number, wanted: number): Room {
  const room = Math.max(descriptors - RESERVED_DESCRIPTORS - ofEngine, 20);
  const most = Math.floor(room * 0.45);
  return {
    tunnels: wanted === 0 ? most : Math.min(wanted, most),
    connections: Math.floor(room * 0.55),
    warnings:
      wanted > most
        ? [
            `--max-tunnels ${wanted} needs more than the ${descriptors} file descriptors of this process: ${most} tunnels at most; raise the limit (ulimit -n, LimitNOFILE)`,
          ]
        : [],
  };
}

/** The soft limit of open files (getrlimit(2)); where the system does not tell, a modest one. */
function descriptorLimit(): number {
  try {
    return Number(
      /^Max open files\s+([0-9]+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1] ?? 1024,
    );
  } catch {
    return 1024;
  }
}

/** 128 bits, in letters that neither a URL, nor YAML, nor stunnel, nor a shell reads in a way of its own. */
function inventCredential(): Credential {
  return { name: 'migration', password: randomBytes(16).toString('hex') };
}

function explainListen(
  flag: string,
): (error: NodeJS.ErrnoException & { address?: string; port?: number }) => never {
  return (error) => {
    const where = error.address === undefined ? '' : ` on ${formatAuthority(error.address, error.port ?? 0)}`;
    const why: Record<string, string> = {
      EADDRINUSE: 'the port is in use',
      EACCES: 'ports below 1024 need a privilege',
      EADDRNOTAVAIL: 'the machine does not have this address',
      ENOTFOUND: 'the host name does not resolve',
      EAI_AGAIN: 'the host name does not resolve: no name server answers',
    };
    throw new Error(
      `cannot listen${where}: ${why[error.code ?? ''] ?? error.message}; choose another address with ${flag} HOST:PORT`,
    );
  };
}
