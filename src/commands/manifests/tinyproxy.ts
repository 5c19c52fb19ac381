import { routePattern } from '../mtc/route-host.js';
import { ManifestFailure, type Material } from './manifest.js';
import { describeTarget, ENDS_TOO_EARLY, listenPort } from './other-proxies.js';
import { targetPorts } from './target-ports.js';

const FILTER = '/etc/tinyproxy/migration.filter';

/** The characters that its configuration has for user names and passwords, of which it quotes none. */
const BASIC_AUTH = /^[A-Za-z0-9._-]+$/;

/** A tinyproxy.conf that does the same, with what it cannot do in its comments. Throws `ManifestFailure`. */
export function tinyproxyConfiguration(material: Material): string {
  const { username = '', password = '', targetApps: apps = '', targetApi: api, client: clients } = material;
  if (!BASIC_AUTH.test(username) || !BASIC_AUTH.test(password))
    throw new ManifestFailure(
      'tinyproxy takes no user name and no password with other characters than letters, digits, dots, dashes and underscores: choose others',
    );
  const patterns = [
    routePattern(apps),
    ...(api === undefined ? [] : [`^${api.host.replaceAll('.', '\\.')}$`]),
  ];
  return `# tinyproxy.conf (1.11 or later) of a proxy for one migration, to ${describeTarget(material)}.
#
# It reads the hosts that it allows from a file of their own:
#   printf '%s\\n' ${patterns.map((pattern) => `'${pattern}'`).join(' ')} > ${FILTER}
# and holds the password, so:
#   chown root:tinyproxy /etc/tinyproxy/tinyproxy.conf && chmod 640 /etc/tinyproxy/tinyproxy.conf
#
# What it does not do as spliceway does:
${ENDS_TOO_EARLY}
# - Timeout is for silence inside of connections, too, and nothing keeps either side alive. Its own default is ten minutes.
# - Each connection is a thread, and above MaxClients they wait without a word: 100 volumes are 200 connections at once.
# - Hosts and ports are two lists: every port below goes for every host.
# - It does not look at the addresses that a name leads to, and names go through the system's resolver, a thread each.
# - There are no metrics; stunnel's log says 403 or 500, and neither which rule refused it nor what failed.

User tinyproxy
Group tinyproxy
Port ${listenPort(material)}
${clients.map((range) => `Allow ${range}\n`).join('')}BasicAuth ${username} ${password}
${targetPorts(material)
  .map((port) => `ConnectPort ${port}\n`)
  .join('')}Filter "${FILTER}"
FilterType ere
FilterDefaultDeny Yes
Timeout 43200
MaxClients 600
LogLevel Connect
`;
}
