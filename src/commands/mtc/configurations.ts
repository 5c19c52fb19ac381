/**
 * The generations of the stunnel client that a migration toolkit writes: MTC 1.4, MTC 1.5, MTC 1.6 and every later
 * one, and `crane transfer-pvc`.
 */
export const GENERATIONS = ['1.4', '1.5', '1.6', 'crane'] as const;

/** One of `GENERATIONS`. */
export type Generation = (typeof GENERATIONS)[number];

/**
 * Where both stunnels of a generation accept connections, and where rsync's daemon does.
 *
 * Source: as of the templates below.
 */
export const CLUSTER_PORTS = {
  '1.4': { stunnel: 2222, rsync: 22 },
  '1.5': { stunnel: 2222, rsync: 22 },
  '1.6': { stunnel: 6443, rsync: 2222 },
  crane: { stunnel: 6443, rsync: 2222 },
} as const satisfies Record<Generation, { readonly stunnel: number; readonly rsync: number }>;

/** The key pair that MTC puts on both ends: one self-signed certificate, which is its own authority. */
export interface KeyPair {
  readonly certificateFile: string;
  readonly keyFile: string;
}

/**
 * What MTC fills into its template for the stunnel client. `accept` is a port, or an address and a port; `proxy` and
 * `target` are `host:port`. As in MTC, user name and password are left out when they are empty.
 */
export interface StunnelClientOptions extends KeyPair {
  readonly generation: Generation;
  readonly accept: string;
  readonly proxy: string;
  readonly target: string;
  readonly username: string;
  readonly password: string;
  /** What MTC 1.4 and 1.5 verify the server with. Default: `certificateFile`, which is its own authority. */
  readonly authorityFile?: string;
}

/** What MTC fills into its template for the stunnel server. Both are a port, or an address and a port. */
export interface StunnelServerOptions extends KeyPair {
  readonly generation: Generation;
  readonly accept: string;
  readonly connect: string;
}

/**
 * `stunnel.conf` of the client in the source cluster: the options and their order as the toolkit writes them.
 * MTC 1.6 and later detach from their starter, since they do not say `foreground = yes`.
 *
 * Source: `stunnelClientConfigTemplate` of migtools/mig-controller (MTC 1.4 and 1.5); `stunnelClientConfTemplate` of
 * migtools/crane-lib (MTC 1.6 and later) and of backube/pvc-transfer (crane).
 */
export function stunnelClientConfiguration(options: StunnelClientOptions): string {
  const { accept, certificateFile, keyFile, username, password, authorityFile = certificateFile } = options;
  const proxy = `protocol = connect
connect = ${options.proxy}
protocolHost = ${options.target}
${username === '' ? '' : `protocolUsername = ${username}\n`}${password === '' ? '' : `protocolPassword = ${password}\n`}`;
  const configurations = {
    '1.4': `foreground = yes
pid =
sslVersion = TLSv1.2
client = yes
syslog = no
[rsync]
accept = ${accept}
CAFile = ${authorityFile}
cert = ${certificateFile}
${proxy}verify = 2
key = ${keyFile}
debug = 7
`,
    '1.5': `pid =
sslVersion = TLSv1.2
client = yes
syslog = no
output = /dev/stdout
[rsync]
accept = ${accept}
CAFile = ${authorityFile}
cert = ${certificateFile}
${proxy}verify = 2
key = ${keyFile}
debug = 7
`,
    '1.6': `pid =
sslVersion = TLSv1.2
client = yes
syslog = no
output = /dev/stdout
[rsync]
debug = 7
accept = ${accept}
cert = ${certificateFile}
key = ${keyFile}
${proxy}`,
    crane: `pid =
sslVersion = TLSv1.3
client = yes
syslog = no
output = /dev/stdout
key = ${keyFile}
cert = ${certificateFile}
CAfile = ${authorityFile}
verify = 2
[transfer]
debug = 7
accept = ${accept}
${proxy}`,
  } satisfies Record<Generation, string>;
  return configurations[options.generation];
}

/**
 * `stunnel.conf` of the server in the destination cluster, which the Route leads to and rsync's daemon sits behind.
 *
 * Source: `stunnelDestinationConfigTemplate` of migtools/mig-controller, `stunnelServerConfTemplate` of
 * backube/pvc-transfer.
 */
export function stunnelServerConfiguration(options: StunnelServerOptions): string {
  const { accept, connect, certificateFile, keyFile } = options;
  const crane = options.generation === 'crane';
  return `foreground = yes
pid =
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
debug = 7
sslVersion = ${crane ? 'TLSv1.3' : 'TLSv1.2'}
[${crane ? 'transfer' : 'rsync'}]
accept = ${accept}
connect = ${connect}
key = ${keyFile}
cert = ${certificateFile}
${crane ? `CAfile = ${certificateFile}\nverify = 2\n` : ''}TIMEOUTclose = 0
`;
}

/**
 * `rsyncd.conf` of the daemon that writes into the destination volume. `asRoot` adds the lines that a daemon needs
 * to stay root and that one started by a normal user does not survive.
 *
 * Source: `rsyncServerConfTemplate` of migtools/crane-lib and backube/pvc-transfer.
 */
export function rsyncDaemonConfiguration(options: {
  readonly module: string;
  readonly directory: string;
  readonly secretsFile: string;
  readonly asRoot: boolean;
}): string {
  return `syslog facility = local7
read only = no
list = yes
log file = /dev/stdout
max verbosity = 4
auth users = root
hosts allow = ::1, 127.0.0.1, localhost
${options.asRoot ? 'uid = root\ngid = root\n' : ''}[${options.module}]
path = ${options.directory}
use chroot = no
munge symlinks = no
list = yes
read only = false
auth users = root
secrets file = ${options.secretsFile}
`;
}

/** A line of HAProxy's `defaults` for frontends whose first capture is the SNI. */
export const SNI_LOG_FORMAT =
  'log-format "%ci:%cp sni=%[capture.req.hdr(0)] -> %b/%s, %B bytes in %Tt ms, ended %ts"';

/**
 * `haproxy.cfg` of the router of the destination cluster with one passthrough Route: it looks at the SNI of the
 * ClientHello, leads `routeHost` to `backend` (`host:port`) and refuses every other name.
 *
 * Source: the frontend `public_ssl` and the default timeouts of openshift/router, `haproxy-config.template`.
 */
export function routerConfiguration(options: {
  readonly address: string;
  readonly port: number;
  readonly routeHost: string;
  readonly backend: string;
}): string {
  return `global
  maxconn 1000
  # Otherwise two routers on one machine share a port, and each gets some of the other's connections.
  noreuseport
  log stdout format raw local0
defaults
  mode tcp
  log global
  ${SNI_LOG_FORMAT}
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  timeout tunnel 1h
  timeout client-fin 1s
  timeout server-fin 1s
frontend public_ssl
  bind ${options.address}:${options.port}
  tcp-request inspect-delay 5s
  tcp-request content capture req.ssl_sni len 255 if { req.ssl_hello_type 1 }
  tcp-request content accept if { req.ssl_hello_type 1 }
  use_backend be_tcp:dvm if { req.ssl_sni -i ${options.routeHost} }
  default_backend be_no_sni
backend be_tcp:dvm
  server stunnel ${options.backend}
backend be_no_sni
  tcp-request content reject
`;
}
