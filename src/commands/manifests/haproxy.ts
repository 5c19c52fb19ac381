import { SNI_LOG_FORMAT } from '../mtc/configurations.js';
import type { Material } from './manifest.js';
import { describeTarget, listenPort } from './other-proxies.js';

/** A haproxy.cfg that carries a migration as far as HAProxy can, with what it cannot do in its comments. */
export function haproxyConfiguration(material: Material): string {
  const { targetApps: apps = '', targetApi: api, client: clients } = material;
  const guard =
    clients.length === 0 ? '' : `  tcp-request connection reject unless { src ${clients.join(' ')} }\n`;
  return `# haproxy.cfg (2.2 or later) for a migration to ${describeTarget(material)}.
#
# HAProxy does not answer CONNECT, so stunnel_tcp_proxy cannot name it: leave that key empty. What it can do is to stand
# where the Routes seem to be. The name servers that the SOURCE cluster's pods ask have to send these names here:
#   *.${apps}${api === undefined ? '' : ` and ${api.host}`}
# and the ones that this machine asks have to know where they really are. The host name of TLS (SNI) says which Route is
# meant; the router of the target cluster reads it as well, so that one backend does for all.
#
# What it does not do as spliceway does:
# - There is no user and no password: who may come is a matter of addresses${clients.length === 0 ? ' (give --client; without, everybody may)' : ''}.
# - rsync_endpoint_type NodePort and ClusterIP have no names to be sent here.
# - Twelve hours of silence end a connection.
# - A refusal is a closed connection: stunnel's log does not say why.
#
# The other use of HAProxy is in front of several spliceways or Squids, whose address is then its own:
#   frontend proxies
#     bind :${listenPort(material)}
#     default_backend proxies
#   backend proxies
#     balance leastconn
#     option httpchk GET /ready
#     default-server check port 9128 inter 2s
#     server one 192.0.2.11:3128
#     server two 192.0.2.12:3128
# They see its address for every client: their logs and limits go by that one.

global
  maxconn 2000
  log stdout format raw local0

defaults
  mode tcp
  log global
  ${SNI_LOG_FORMAT}
  # stunnel keeps no connection alive, so that the proxy has to.
  option clitcpka
  option srvtcpka
  timeout connect 10s
  timeout client 12h
  timeout server 12h
  timeout tunnel 12h

resolvers system
  parse-resolv-conf

${passthrough({ name: 'routes', port: 443, guard, rule: `{ req.ssl_sni -m beg -i dvm- } { req.ssl_sni -m end -i .${apps} }`, host: `dvm.${apps}` })}${
  api === undefined
    ? ''
    : `\n${passthrough({ name: 'api', port: api.port, guard, rule: `{ req.ssl_sni -i ${api.host} }`, host: api.host })}`
}`;
}

/** A port whose TLS connections go on as they are where their SNI is allowed, to the same port of `host`. */
function passthrough(options: {
  readonly name: string;
  readonly port: number;
  readonly guard: string;
  readonly rule: string;
  readonly host: string;
}): string {
  const { name, port, guard, rule, host } = options;
  return `frontend ${name}
  bind :${port}
${guard}  tcp-request inspect-delay 5s
  tcp-request content capture req.ssl_sni len 255
  tcp-request content accept if ${rule}
  tcp-request content reject
  default_backend ${name}
backend ${name}
  server ${name} ${host}:${port} resolvers system init-addr last,libc,none
`;
}
