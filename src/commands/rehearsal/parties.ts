import { execFile } from 'node:child_process';
import { mkdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  CLUSTER_PORTS,
  type Generation,
  type KeyPair,
  routerConfiguration,
  rsyncDaemonConfiguration,
  stunnelClientConfiguration,
  stunnelServerConfiguration,
} from '../mtc/configurations.js';
import type { Child } from './child.js';
import { startOnPort } from './ports.js';
import { parseRecords, text } from './tunnels.js';
import type { Workspace } from './workspace.js';

/**
 * A program that runs and listens on this port, of 127.0.0.1 or, where it says so below, of its place's address. Its
 * workspace stops it. There is one of each in a workspace, since their configurations have fixed names.
 */
export interface Party {
  readonly child: Child;
  readonly port: number;
}

/** A running spliceway: besides its port, its administrative address and the relay engine it says it uses. */
export interface SplicewayParty extends Party {
  readonly admin: string;
  readonly engine: string;
}

/** User name and password for spliceway. */
export interface ProxyCredentials {
  readonly username: string;
  readonly password: string;
}

/** The self-signed key pair that MTC puts on both ends, with MTC's subject, made by one call of openssl. */
export async function makeKeyPair(workspace: Workspace): Promise<KeyPair> {
  const pair = { certificateFile: workspace.path('tls.crt'), keyFile: workspace.path('tls.key') };
  const subject = '/C=US/ST=NC/L=RDU/O=Migration Engineering/OU=Engineering/CN=openshift.io';
  const kind = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '7', '-subj', subject];
  await promisify(execFile)(workspace.programs.openssl, [
    ...kind,
    ...['-keyout', pair.keyFile, '-out', pair.certificateFile],
  ]);
  return pair;
}

/**
 * Starts rsync's daemon with one writable module, whose directory is made when it is missing. `generation` tells its
 * port where that is free anyway (default: 1.6's).
 */
export async function startRsyncDaemon(
  workspace: Workspace,
  options: {
    readonly module: string;
    readonly directory: string;
    readonly password: string;
    readonly generation?: Generation;
  },
): Promise<Party> {
  await mkdir(options.directory, { recursive: true });
  const secretsFile = await workspace.write('rsyncd.secrets', `root:${options.password}\n`);
  const asRoot = process.getuid?.() === 0;
  // Root of a user namespace that may not set groups: rsync's daemon insists on setting them when it is root, so it
  // becomes somebody else in a user namespace of its own.
  const disguised = asRoot && (await mayNotSetGroups());
  const configuration = await workspace.write(
    'rsyncd.conf',
    rsyncDaemonConfiguration({ ...options, secretsFile, asRoot: asRoot && !disguised }),
  );
  const usual = CLUSTER_PORTS[options.generation ?? '1.6'].rsync;
  return startOnPort(workspace.place, { usual }, (port) => {
    const { rsync } = workspace.programs;
    const args = [
      '--daemon',
      '--no-detach',
      `--config=${configuration}`,
      `--port=${port}`,
      '--address=127.0.0.1',
    ];
    return disguised
      ? workspace.start('rsync daemon', 'unshare', [
          '--user',
          '--map-user=1',
          '--map-group=1',
          rsync,
          ...args,
        ])
      : workspace.start('rsync daemon', rsync, args);
  });
}

/** Starts the stunnel server of a generation before the rsync daemon on `rsyncPort`. */
export function startStunnelServer(
  workspace: Workspace,
  options: KeyPair & { readonly generation: Generation; readonly rsyncPort: number },
): Promise<Party> {
  const usual = CLUSTER_PORTS[options.generation].stunnel;
  return startOnPort(workspace.place, { usual }, async (port) => {
    const accept = `127.0.0.1:${port}`;
    const connect = `127.0.0.1:${options.rsyncPort}`;
    const configuration = stunnelServerConfiguration({ ...options, accept, connect });
    const file = await workspace.write('stunnel-server.conf', configuration);
    return workspace.start('stunnel server', workspace.programs.stunnel, [file]);
  });
}

/**
 * Starts HAProxy as the router, at its place's address, on `preferredPort` when that can be had (by default on 443
 * where all ports are free, otherwise on whichever is), with one Route to `stunnelPort`.
 */
export function startRouter(
  workspace: Workspace,
  options: { readonly routeHost: string; readonly stunnelPort: number; readonly preferredPort?: number },
): Promise<Party> {
  const { routeHost, preferredPort } = options;
  const { address } = workspace.place;
  const choice = { usual: preferredPort ?? 443, prefer: preferredPort !== undefined };
  return startOnPort(workspace.place, choice, async (port) => {
    const backend = `127.0.0.1:${options.stunnelPort}`;
    const configuration = routerConfiguration({ address, port, routeHost, backend });
    const file = await workspace.write('haproxy.cfg', configuration);
    return workspace.start('HAProxy', workspace.programs.haproxy, ['-db', '-f', file]);
  });
}

/** The port of a proxy whose place has ports of its own: Squid's, and spliceway's by default. */
export const PROXY_PORT = 3128;

/**
 * Starts `spliceway serve` of this very package at its place's address, on a free port or on `PROXY_PORT`, with these
 * allow rules, and waits until it says that it listens. `relay` is the value of `--relay`; without it spliceway
 * chooses. `parent` is the URL of the proxy that it goes through (absent: none), `name` what its log and messages
 * call it (default `spliceway`).
 */
export async function startSpliceway(
  workspace: Workspace,
  options: {
    readonly credentials: ProxyCredentials;
    readonly allow: readonly string[];
    readonly relay?: string;
    readonly parent?: string;
    readonly name?: string;
  },
): Promise<SplicewayParty> {
  const { address, ports } = workspace.place;
  const child = await workspace.start(
    options.name ?? 'spliceway',
    process.execPath,
    [
      ...[fileURLToPath(new URL('../../cli.js', import.meta.url)), 'serve'],
      ...[
        '--listen',
        `${address}:${ports === 'own' ? PROXY_PORT : 0}`,
        '--admin',
        '127.0.0.1:0',
        '--log-format',
        'json',
        '--drain-window',
        '0s',
      ],
      ...options.allow.flatMap((rule) => ['--allow', rule]),
      ...(options.relay === undefined ? [] : ['--relay', options.relay]),
    ],
    // Not as arguments, which ps shows to everybody.
    {
      SPLICEWAY_USERNAME: options.credentials.username,
      SPLICEWAY_PASSWORD: options.credentials.password,
      ...(options.parent === undefined ? {} : { SPLICEWAY_PARENT: options.parent }),
    },
  );
  const listening = await child.until('its record "listening"', async () =>
    parseRecords(await child.log()).find((record) => record.event === 'listening'),
  );
  const listeners = Array.isArray(listening.listeners) ? listening.listeners : [];
  const port = Number(/:(\d+)$/.exec(String(listeners[0]))?.[1]);
  return { child, port, admin: text(listening.admin), engine: text(listening.engine) };
}

/**
 * Starts the stunnel client of a generation. `proxyPort` is the proxy's, at `proxyAddress` (default 127.0.0.1), and
 * `target` the `host:port` that it asks for.
 * It listens on loopback alone; the configuration is the toolkit's in everything else.
 */
export function startStunnelClient(
  workspace: Workspace,
  options: KeyPair & {
    readonly generation: Generation;
    readonly proxyAddress?: string;
    readonly proxyPort: number;
    readonly credentials: ProxyCredentials;
    readonly target: string;
  },
): Promise<Party> {
  const usual = CLUSTER_PORTS[options.generation].stunnel;
  return startOnPort(workspace.place, { usual }, async (port) => {
    const accept = `127.0.0.1:${port}`;
    const proxy = `${options.proxyAddress ?? '127.0.0.1'}:${options.proxyPort}`;
    const configuration = stunnelClientConfiguration({ ...options, ...options.credentials, accept, proxy });
    const file = await workspace.write('stunnel-client.conf', configuration);
    return workspace.start('stunnel client', workspace.programs.stunnel, [file]);
  });
}

async function mayNotSetGroups(): Promise<boolean> {
  const setgroups = await readFile('/proc/self/setgroups', 'utf8').catch(() => 'allow');
  return setgroups.trim() === 'deny';
}
