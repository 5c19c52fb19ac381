import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { squidConfiguration } from '../mtc/squid-configuration.js';
import { type Party, PROXY_PORT, type ProxyCredentials } from './parties.js';
import { startOnPort } from './ports.js';
import { findPrograms, SQUID_PROGRAMS } from './programs.js';
import type { Workspace } from './workspace.js';

/** A proxy that another one goes through. */
export interface Parent {
  readonly address: string;
  readonly port: number;
  readonly credentials: ProxyCredentials;
}

/** A running Squid. */
export interface SquidParty extends Party {
  /** The lines of its access log: one for each CONNECT, once that has ended. */
  requests(): Promise<readonly string[]>;
}

/**
 * Starts Squid at its place's address, as a company has it: CONNECT alone, to one host and port, with a password, and
 * with times long enough for a migration. `parent` is the proxy that it goes through (absent: none), `name` what its
 * files and messages call it.
 */
export async function startSquid(
  workspace: Workspace,
  options: {
    readonly name: string;
    readonly credentials: ProxyCredentials;
    readonly target: { readonly host: string; readonly port: number };
    readonly parent?: Parent;
  },
): Promise<SquidParty> {
  const programs = await findPrograms(SQUID_PROGRAMS);
  const { openssl } = workspace.programs;
  const { username, password } = options.credentials;
  const hashing = promisify(execFile)(openssl, ['passwd', '-apr1', '-stdin'], { timeout: 10_000 });
  // It may end before it has read everything; what it says then is the error below.
  hashing.child.stdin?.on('error', () => {});
  hashing.child.stdin?.end(`${password}\n`);
  const hash = (await hashing).stdout.trim();

  const file = options.name.replaceAll(' ', '-');
  const passwordFile = await workspace.write(`${file}.passwords`, `${username}:${hash}\n`);
  const accessLog = workspace.path(`${file}-access.log`);
  const choice = { usual: PROXY_PORT };
  const party = await startOnPort(workspace.place, choice, async (port) => {
    const listen = `${workspace.place.address}:${port}`;
    const authenticator = `${programs.ncsaAuth} ${passwordFile}`;
    const configuration = rehearsedConfiguration({ ...options, listen, authenticator, accessLog });
    const configurationFile = await workspace.write(`${file}.conf`, configuration);
    // Squid that is started by root becomes somebody else, who may read nothing here, and there is nobody else in some
    // user namespaces. So it is nobody special in one of its own from the start.
    return workspace.start(options.name, 'unshare', [
      ...['--user', '--map-user=1', '--map-group=1'],
      ...[programs.squid, '-N', '-d', '1', '-n', file.replaceAll('-', ''), '-f', configurationFile],
    ]);
  });
  const requests = async (): Promise<readonly string[]> =>
    (await readFile(accessLog, 'utf8').catch(() => '')).split('\n').filter((line) => line !== '');
  return { ...party, requests };
}

/** `squid.conf` of a corporate proxy that carries a migration, and leaves nothing behind but its access log. */
function rehearsedConfiguration(options: {
  readonly listen: string;
  readonly authenticator: string;
  readonly accessLog: string;
  readonly target: { readonly host: string; readonly port: number };
  readonly parent?: Parent;
}): string {
  const { parent, target } = options;
  const login = `${parent?.credentials.username}:${parent?.credentials.password}`;
  const destination = { name: 'route', hosts: `dstdomain -n ${target.host}`, port: target.port };
  return `${squidConfiguration({ ...options, destinations: [destination] })}visible_hostname squid.invalid
${
  parent === undefined
    ? ''
    : `cache_peer ${parent.address} parent ${parent.port} 0 no-query no-digest no-netdb-exchange default login=${login}
never_direct allow all
`
}cache deny all
cache_mem 0
logformat lines %>Hs %rm %ru by %un, %Sh/%<a, %<st B down in %tr ms
access_log stdio:${options.accessLog} lines CONNECT
cache_log /dev/null
cache_store_log none
pid_filename none
netdb_filename none
pinger_enable off
shutdown_lifetime 0 seconds
`;
}
