import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { ENGINES } from '../src/relay/engines.js';
import { BenchError, DESCRIPTORS, SYSTEM_PATH } from './processes.js';

/** The credentials of every proxy that asks for any. */
export const USER = 'migration';
export const PASSWORD = 'let-me-through';

/** Where a contender is to listen and whom it serves. */
export interface Surroundings {
  /** IPv4 address to listen at. */
  readonly address: string;
  /** One free port for each target; a proxy that is told its target by the client uses the first. */
  readonly ports: readonly number[];
  /** HOST:PORT as the contender is to dial them. */
  readonly targets: readonly string[];
  /** An address range that holds the targets. */
  readonly range: string;
  /** A folder of its own, writable. */
  readonly folder: string;
}

/** How a contender is started: this, and nothing else, is its configuration. */
export interface Setup {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Files of the folder, by name. */
  readonly files?: Readonly<Record<string, string>>;
}

/** A row of {@link CONTENDERS}. */
export interface Contender {
  readonly name: string;
  /** `connect`: it speaks CONNECT with Basic credentials; `forward`: each of its ports leads to one target. */
  readonly speaks: 'nothing' | 'connect' | 'forward';
  /**
   * Its version.
   *
   * @throws BenchError saying what to install, where it is absent
   */
  version(): string;
  /** It is a Node.js process, with `--inspect-port=0`: see `Stage.collectGarbage`. */
  readonly node?: boolean;
  /** Absent: there is nothing to start. */
  readonly setup?: (surroundings: Surroundings) => Setup;
}

/** The port is of no account until the process is told to listen there. */
const NODE = [process.execPath, '--inspect-port=0'];

/** Everything that is compared, in the order of the tables. */
export const CONTENDERS: readonly Contender[] = [
  { name: 'direct', speaks: 'nothing', version: () => 'no proxy' },
  ...(Object.keys(ENGINES) as (keyof typeof ENGINES)[]).map(spliceway),
  {
    name: 'haproxy',
    speaks: 'forward',
    version: () => versionOf({ argv: ['haproxy', '-v'], install: 'haproxy' }),
    setup: haproxy,
  },
  {
    name: 'squid',
    speaks: 'connect',
    version: () => versionOf({ argv: ['squid', '-v'], install: 'squid' }),
    setup: squid,
  },
  {
    name: 'tinyproxy',
    speaks: 'connect',
    version: () => versionOf({ argv: ['tinyproxy', '-v'], install: 'tinyproxy' }),
    setup: tinyproxy,
  },
  nodePeer('proxy-chain'),
  nodePeer('proxy'),
];

function spliceway(engine: keyof typeof ENGINES): Contender {
  return {
    name: engine,
    speaks: 'connect',
    node: true,
    version() {
      const absent = run([
        process.execPath,
        fileURLToPath(new URL('engine-absent.js', import.meta.url)),
        engine,
      ]);
      if (absent !== '') throw new BenchError(absent);
      return `spliceway ${packageVersion('../../package.json')}, --relay ${engine}`;
    },
    // No line for each tunnel, as with every peer; all else as it comes.
    setup: ({ address, ports, range }) => ({
      argv: [
        ...[...NODE, fileURLToPath(new URL('../src/cli.js', import.meta.url)), 'serve'],
        ...['--listen', `${address}:${ports[0]}`, '--admin', 'off', '--allow', `${range}:*`],
        ...['--relay', engine, '--log-level', 'warn', '--log-format', 'json'],
      ],
      env: { SPLICEWAY_USERNAME: USER, SPLICEWAY_PASSWORD: PASSWORD },
    }),
  };
}

/** TCP mode: it neither reads CONNECT nor asks for credentials, so that its handshakes are a limit rather than a peer's. */
function haproxy({ address, ports, targets, folder }: Surroundings): Setup {
  const listeners = targets.map(
    (target, index) => `
listen target-${index}
  bind ${address}:${ports[index]}
  server target ${target}
`,
  );
  return {
    argv: ['haproxy', '-db', '-f', `${folder}/haproxy.cfg`],
    files: {
      'haproxy.cfg': `global
  nbthread ${availableParallelism()}
  maxconn 5000
  tune.pipesize 1048576

defaults
  mode tcp
  option splice-request
  option splice-response
  timeout connect 10s
  timeout client 1h
  timeout server 1h
${listeners.join('')}`,
    },
  };
}

/** Files in /dev/shm whose names begin so are Squid's, which leaves them behind when it is killed: whoever ends the bench removes them. */
export const SHARED_MEMORY = `splicewaybench${process.pid}`;

function squid({ address, ports, folder }: Surroundings): Setup {
  return {
    argv: ['squid', '-N', '-n', SHARED_MEMORY, '-f', `${folder}/squid.conf`],
    files: {
      'squid.conf': `http_port ${address}:${ports[0]}
auth_param basic program /usr/lib/squid/basic_ncsa_auth ${folder}/passwords
auth_param basic children 2 startup=2 idle=1
auth_param basic credentialsttl 2 hours
acl users proxy_auth REQUIRED
http_access allow users
http_access deny all
cache deny all
cache_mem 0
memory_pools on
access_log none
cache_store_log none
cache_log ${folder}/cache.log
pid_filename none
coredump_dir ${folder}
netdb_filename none
pinger_enable off
max_filedescriptors ${DESCRIPTORS}
visible_hostname bench.invalid
`,
      // htpasswd -nbm migration let-me-through
      passwords: `${USER}:$apr1$splicewy$J5f/NUQ89HwXraVfK6kLj/\n`,
    },
  };
}

function tinyproxy({ address, ports, folder }: Surroundings): Setup {
  return {
    argv: ['tinyproxy', '-d', '-c', `${folder}/tinyproxy.conf`],
    files: {
      'tinyproxy.conf': `Port ${ports[0]}
Listen ${address}
BasicAuth ${USER} ${PASSWORD}
MaxClients 5000
Timeout 3600
LogFile "${folder}/tinyproxy.log"
LogLevel Critical
`,
    },
  };
}

/** A package of npm, run by the program of its name in peers/. */
function nodePeer(name: 'proxy-chain' | 'proxy'): Contender {
  return {
    name,
    speaks: 'connect',
    node: true,
    version() {
      try {
        const entry = fileURLToPath(import.meta.resolve(name));
        const root = entry.slice(0, entry.lastIndexOf(`/node_modules/${name}/`));
        return `npm ${name} ${packageVersion(`file://${root}/node_modules/${name}/package.json`)}`;
      } catch {
        throw new BenchError(`npm install --save-dev ${name}`);
      }
    },
    setup: ({ address, ports }) => ({
      argv: [
        ...NODE,
        fileURLToPath(new URL(`peers/${name}.js`, import.meta.url)),
        ...[address, String(ports[0]), USER, PASSWORD],
      ],
    }),
  };
}

/** The first line with a digit that a program prints about its version. */
function versionOf({ argv, install }: { argv: readonly string[]; install: string }): string {
  try {
    const text = run(argv);
    return (text.split('\n').find((line) => /\d/.test(line)) ?? text).replace(/ - http.*/, '').trim();
  } catch {
    throw new BenchError(`apt-get install --no-install-recommends ${install}`);
  }
}

function run([program = '', ...argv]: readonly string[]): string {
  return execFileSync(program, argv, { env: { PATH: SYSTEM_PATH }, encoding: 'utf8', stdio: 'pipe' });
}

function packageVersion(url: string): string {
  const { version } = JSON.parse(readFileSync(new URL(url, import.meta.url), 'utf8')) as { version: string };
  return version;
}
