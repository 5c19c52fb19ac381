/** Destinations that Squid lets its users connect to. */
export interface SquidDestination {
  /** What its ACLs are called. */
  readonly name: string;
  /** Type and value of the ACL for its hosts, such as `dstdomain -n api.target.example`. */
  readonly hosts: string;
  readonly port: number;
}

/**
 * What a `squid.conf` needs to carry a migration: CONNECT to these destinations with a password, and times long enough.
 * `listen` is a port, or an address and a port; `authenticator` the command line of what checks passwords; `clients`
 * the ranges that may come (none: everybody).
 *
 * The order of the ACLs in a rule matters: the password is asked for last, so that a wrong destination is a 403 whoever
 * asks, and the rule ends with it, so that a missing password is a 407.
 *
 * Source: the documentation of Squid 5's directives. `dstdomain` and `dstdom_regex` look addresses up in DNS backwards,
 * and believe what they find there, unless they are told `-n`.
 */
export function squidConfiguration(options: {
  readonly listen: string;
  readonly authenticator: string;
  readonly destinations: readonly SquidDestination[];
  readonly clients?: readonly string[];
}): string {
  const { listen, authenticator, destinations, clients = [] } = options;
  const acls = destinations.map(
    ({ name, hosts, port }) => `acl ${name}_hosts ${hosts}\nacl ${name}_port port ${port}\n`,
  );
  const who = clients.length === 0 ? '' : 'clients ';
  const rules = destinations.map(
    ({ name }) => `http_access allow CONNECT ${who}${name}_hosts ${name}_port users\n`,
  );
  return `# stunnel keeps no connection alive, so that the proxy has to.
http_port ${listen} tcpkeepalive=60,30,3

auth_param basic program ${authenticator}
auth_param basic children 4 startup=1 idle=1
auth_param basic realm Squid

acl CONNECT method CONNECT
acl users proxy_auth REQUIRED
${clients.length === 0 ? '' : `acl clients src ${clients.join(' ')}\n`}${acls.join('')}
${rules.join('')}http_access deny all

# Squid ends a connection after 15 minutes of silence and after a day in all, unless it is told otherwise.
read_timeout 12 hours
client_lifetime 30 days
`;
}
