import { routePattern } from '../mtc/route-host.js';
import { squidConfiguration } from '../mtc/squid-configuration.js';
import { listenPort, type Material } from './manifest.js';

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
  const ports = [...new Set([443, ...(api === undefined ? [] : [api.port])])].join(' ');
  return `# squid.conf of a proxy for one migration, to the Routes of ${apps}${api === undefined ? '' : ` and to ${api.host}`}. For a Squid that
# exists, put what follows before its own http_access lines: the first line that matches decides. Debian's and Red Hat's
# allow CONNECT to port 443 alone, so that a line "acl SSL_ports port ${ports}" is needed there as well.
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
# - The end of one direction ends both, and a reset arrives as an ordinary end: a transfer that was cut looks complete.
# - Twelve hours of silence end a connection, and nothing keeps the side of the target alive.
# - It does not look at the addresses that a name leads to.
# - stunnel's log says 403 or 503, and neither which rule refused it nor what failed.
# - A password that is taken away goes on for up to two hours (auth_param basic credentialsttl).
# - A restart ends every connection after shutdown_lifetime (30 seconds), idle or not.

${configuration}`;
}
