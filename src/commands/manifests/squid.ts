import { routePattern } from '../mtc/route-host.js';
import { squidConfiguration } from '../mtc/squid-configuration.js';
import type { Material } from './manifest.js';
import { describeTarget, ENDS_TOO_EARLY, listenPort } from './other-proxies.js';
import { targetPorts } from './target-ports.js';

const PASSWORDS = '/etc/squid/migration.passwords';

/** A squid.conf that does the same, with what it cannot do in its comments. */
export function squidConfigurationFile(material: Material): string {
  const { username = '', targetApps: apps = '', targetApi: api, client: clients } = material;
  const configuration = squidConfiguration({
    listen: String(listenPort(material)),
    authenticator: `/usr/lib/squid/basic_ncsa_auth ${PASSWORDS}`,
    destinations: [
      { name: 'routes', hosts: `dstdom_regex -n -i ${routePattern(apps)}`, port: 443 },
      ...(api === undefined ? [] : [{ name: 'api', hosts: `dstdomain -n ${api.host}`, port: api.port }]),
    ],
    clients,
  });
  return `# squid.conf of a proxy for one migration, to ${describeTarget(material)}.
#
# In a Squid that exists, its acl and http_access lines, without "deny all", go before the http_access lines that are
# there: the first that matches decides, and Debian's and Red Hat's deny CONNECT to ports that are not in SSL_ports, which
# is 443 alone. Or say there: acl SSL_ports port ${targetPorts(material).join(' ')}
#
# The password, which the first command asks for twice (Red Hat has basic_ncsa_auth in /usr/lib64/squid):
#   printf '%s:%s\\n' '${username.replaceAll("'", "'\\''")}' "$(openssl passwd -apr1)" > ${PASSWORDS}
#   chown root:proxy ${PASSWORDS} && chmod 640 ${PASSWORDS}      # Red Hat: root:squid
#
# Routes are one for each namespace: dvm-NAMESPACE below the domain. A dstdomain of ${apps} would match that name
# alone and none below it; .${apps} every Route of the cluster.
#
# Where this Squid looks into TLS (http_port … ssl-bump), stunnel's must go by untouched, and the first ssl_bump line that
# matches decides. So, before "ssl_bump bump all":
#   ssl_bump splice routes_hosts
#
# What it does not do as spliceway does:
${ENDS_TOO_EARLY}
# - Twelve hours of silence end a connection, and nothing keeps the side of the target alive.
# - It does not look at the addresses that a name leads to.
# - stunnel's log says 403 or 503, and neither which rule refused it nor what failed.
# - A password that is taken away goes on for up to two hours (auth_param basic credentialsttl).
# - A restart ends every connection after shutdown_lifetime (30 seconds), idle or not.

${configuration}`;
}
