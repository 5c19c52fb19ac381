import { randomBytes } from 'node:crypto';
import type { AddressInfo, Server } from 'node:net';
import type { Logger } from 'pino';
import { matches } from '../../access/rules.js';
import type { Config } from '../../config/options.js';
import { createAdmin } from '../../observe/admin.js';
import { createLog, type Log } from '../../observe/log.js';
import { createMetrics, type Metrics } from '../../observe/metrics.js';
import { EXCHANGE_CAUSES } from '../../relay/delivery.js';
import { type PickedRelay, pickRelay } from '../../relay/engines.js';
import { RELAY_CAUSES } from '../../relay/relay.js';
import { drain } from '../../server/drain.js';
import { isBoundTo, type Listener } from '../../server/listener.js';
import type { Stages } from '../../server/request.js';
import { formatAuthority } from '../../target.js';
import { ParentHealth } from '../../upstream/parent-health.js';
import { explainListen, openAdmin } from './listening.js';
import { type Room, roomForTunnels, usableCores } from './room.js';
import { firstSignal, surviveErrors } from './signals.js';

/** The options that every command has that serves until a signal ends it. */
export type ServiceConfig = Pick<
  Config,
  | 'admin'
  | 'dnsTimeout'
  | 'connectTimeout'
  | 'parentTimeout'
  | 'dialTimeout'
  | 'dialRetry'
  | 'parent'
  | 'relay'
  | 'relayThreads'
  | 'idleTimeout'
  | 'halfCloseTimeout'
  | 'keepalive'
  | 'userTimeout'
  | 'maxTunnels'
  | 'drainWindow'
  | 'drainTimeout'
  | 'logLevel'
  | 'logFormat'
> &
  Partial<Pick<Config, 'upgrade' | 'noVia'>>;

/** What a command needs of its process. */
export interface ServiceProcess {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
}

/** Where a service listens, once it does. */
export interface ServiceFacts {
  /** `ip:port` of every listener. */
  readonly addresses: readonly string[];
  /** `ip:port`; undefined where there is none. */
  readonly adminAddress: string | undefined;
}

/** What a command tells when its service has begun. */
export interface Greeting {
  /** Standard output's only text. */
  readonly banner: (facts: ServiceFacts) => string;
  /** What is odd about the options, for the log. */
  readonly warnings: readonly string[];
}

/** A process that serves until a signal ends it: engine, metrics, log and admin listener, whatever it serves. */
export class Service {
  readonly picked: PickedRelay;
  /** How much there is room for. */
  readonly room: Room;
  readonly #config: ServiceConfig;
  readonly #version: string;
  readonly #metrics: Metrics;
  readonly #log: Log;
  readonly #parentHealth = new ParentHealth();
  readonly #admin: Server | undefined;
  readonly #adminBound: AddressInfo[] = [];
  #listener: Listener | undefined;
  #phase: 'starting' | 'serving' | 'draining' = 'starting';

  /** What this process calls itself in `Via`, like no other; undefined where it is not to. */
  readonly viaName: string | undefined;

  /** @throws Error where the relay engine that was asked for by name is absent */
  constructor(config: ServiceConfig, version: string) {
    this.#config = config;
    this.#version = version;
    this.viaName = config.noVia ? undefined : `spliceway-${randomBytes(4).toString('hex')}`;
    const threads = config.relayThreads || usableCores();
    this.picked = pickRelay(config.relay, { threads, userTimeoutMs: config.userTimeout });
    const { engine, absent } = this.picked;
    const metrics = createMetrics({
      version,
      engine: engine.name,
      absentEngines: absent,
      causes: RELAY_CAUSES,
      exchangeCauses: EXCHANGE_CAUSES,
      upgrades: config.upgrade ?? [],
      parents: config.parent.flatMap(({ ways }) =>
        ways.flatMap((way) => (way.kind === 'parent' ? [way.name] : [])),
      ),
      relayTotals: engine.totals?.bind(engine),
    });
    this.#metrics = metrics;
    this.#log = createLog({
      logLevel: config.logLevel,
      logFormat: config.logFormat ?? (process.stderr.isTTY ? 'pretty' : 'json'),
      onDropped: (records) => metrics.logRecordsDropped(records),
    });
    this.room = roomForTunnels({ splice: engine.name === 'splice', threads, wanted: config.maxTunnels });
    if (config.admin !== 'off')
      this.#admin = createAdmin({ metrics, isReady: () => this.#phase === 'serving' });
  }

  /** What the tunnels of every service are made with. */
  get stages(): Pick<Stages, 'dialOptions' | 'engine' | 'relayOptions' | 'metrics' | 'logger'> {
    const config = this.#config;
    return {
      dialOptions: {
        dnsTimeoutMs: config.dnsTimeout,
        connectTimeoutMs: config.connectTimeout,
        parentTimeoutMs: config.parentTimeout,
        dialTimeoutMs: config.dialTimeout,
        dialRetryMs: config.dialRetry,
        routes: config.parent.map(({ rule, ways }) => ({
          ways,
          fits: (target) => rule === undefined || matches(rule, target),
        })),
        parentHealth: this.#parentHealth,
        isOwnListener: this.isOwnListener,
        ...(this.viaName === undefined ? {} : { viaName: this.viaName }),
      },
      engine: this.picked.engine,
      relayOptions: {
        keepaliveMs: config.keepalive,
        idleTimeoutMs: config.idleTimeout,
        halfCloseTimeoutMs: config.halfCloseTimeout,
      },
      metrics: this.#metrics,
      logger: this.#log.logger,
    };
  }

  /** Whether a connection to this address would come to a listener of this process. */
  readonly isOwnListener = (address: string, port: number): boolean =>
    this.#listener?.isOwn(address, port) === true || isBoundTo(this.#adminBound, address, port);

  /**
   * Listens until a signal ends it.
   *
   * @returns exit code: 0 drained, 1 when tunnels were cut
   * @throws Error where it cannot listen
   */
  async run(listener: Listener, { banner, warnings }: Greeting): Promise<number> {
    this.#listener = listener;
    const { logger } = this.#log;
    const { admin } = this.#config;
    if (this.#admin !== undefined && admin !== 'off')
      this.#adminBound.push(await openAdmin(this.#admin, admin, logger));
    await listener.open().catch(explainListen('--listen'));
    // From here on there may be tunnels, and no mistake of ours may end somebody else's.
    surviveErrors(this.#metrics, logger);
    this.#phase = 'serving';
    const [adminAddress] = this.#adminBound.map(({ address, port }) => formatAuthority(address, port));
    const facts = { addresses: listener.addresses, adminAddress };
    process.stdout.on('error', () => {});
    process.stdout.write(banner(facts));
    for (const warning of [...warnings, ...this.room.warnings, ...this.#idleOptions()])
      logger.warn({ event: 'warning' }, warning);
    logger.info(
      {
        event: 'listening',
        version: this.#version,
        listeners: facts.addresses,
        admin: facts.adminAddress ?? 'off',
        engine: this.picked.engine.name,
        absentEngines: this.picked.absent,
        maxTunnels: this.room.tunnels,
      },
      'listening',
    );
    const cut = await this.#end(listener, logger);
    this.#admin?.close();
    await this.#log.close();
    return cut === 0 ? 0 : 1;
  }

  /** Options that do nothing with the engine that runs. */
  #idleOptions(): readonly string[] {
    const { name } = this.picked.engine;
    return this.#config.userTimeout > 0 && name !== 'splice'
      ? [`--user-timeout has no effect: the relay engine is ${name}`]
      : [];
  }

  /** Waits for a signal, then for the tunnels; returns how many were cut. */
  async #end(listener: Listener, logger: Logger): Promise<number> {
    const cutNow = new AbortController();
    const signal = await firstSignal(() => cutNow.abort());
    this.#phase = 'draining';
    this.#metrics.draining();
    logger.info(
      { event: 'draining', signal, tunnels: listener.tunnels },
      'draining; a second signal cuts the tunnels',
    );
    const cut = await drain(
      listener,
      {
        windowMs: this.#config.drainWindow,
        timeoutMs: this.#config.drainTimeout,
        onProgress: (tunnels) =>
          logger.info({ event: 'draining', tunnels }, `waiting for ${tunnels} tunnels to end`),
      },
      cutNow.signal,
    );
    if (cut === 0) logger.info({ event: 'stopped', cut }, 'drained');
    else logger.warn({ event: 'stopped', cut }, `${cut} tunnels were cut`);
    return cut;
  }
}
