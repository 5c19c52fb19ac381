import { indexBy, type SquidDirective, type SquidFile } from './subject.js';

/**
 * Reads a squid.conf.
 *
 * @returns undefined where the text is none: at least half of its lines, without comments and blank ones, begin with a
 *   directive of Squid
 */
export function readSquidFile(file: string, text: string): SquidFile | undefined {
  const directives: SquidDirective[] = [];
  let pending = '';
  let begun = 0;
  text.split(/\r?\n/).forEach((raw, at) => {
    if (pending === '') begun = at + 1;
    if (raw.endsWith('\\')) {
      pending += `${raw.slice(0, -1)} `;
      return;
    }
    const [name, ...words] = `${pending}${raw}`
      .replace(/(?:^|\s)#.*$/, '')
      .split(/\s+/)
      .filter(Boolean);
    pending = '';
    if (name !== undefined) directives.push({ line: begun, name, words });
  });
  const known = directives.filter(({ name, words }) => words.length > 0 && DIRECTIVES.test(name)).length;
  if (known === 0 || known * 2 < directives.length) return undefined;
  const named = indexBy(directives, ({ name }) => name);
  const acls = indexBy(named.get('acl') ?? [], ({ words: [list = ''] }) => list);
  return { file, directives, named, acls };
}

/** Whether Squid has a directive of this name, as far as they are known here. */
export function isSquidDirective(name: string): boolean {
  return DIRECTIVES.test(name);
}

/** The directives that configurations are made of. A key of YAML has a colon behind it and is none. */
const DIRECTIVES = new RegExp(
  `^(?:${[
    'acl|http_access|http_port|https_port|http_reply_access|icp_access|htcp_access|snmp_access|ssl_bump',
    'sslcrtd_\\w+|sslproxy_\\w+|tls_outgoing_options|cache|cache_\\w+|maximum_\\w+|minimum_\\w+|memory_\\w+',
    'access_log|logformat|logfile_rotate|visible_hostname|unique_hostname|coredump_dir|refresh_pattern|pid_filename',
    'auth_param|authenticate_\\w+|external_acl_type|forwarded_for|via|follow_x_forwarded_for|request_header_\\w+',
    'reply_header_\\w+|dns_\\w+|hosts_file|never_direct|always_direct|client_\\w+|server_\\w+|read_timeout',
    'write_timeout|request_timeout|connect_timeout|forward_timeout|shutdown_lifetime|half_closed_clients|pconn_timeout',
    'tcp_outgoing_\\w+|include|workers|url_rewrite_\\w+|debug_options|error_directory|deny_info|adaptation_access',
    'icap_\\w+|ftp_\\w+|quick_abort_\\w+|max_filedescriptors|delay_\\w+|on_unsupported_protocol|netdb_filename',
    'buffered_logs|strip_query_terms|httpd_suppress_version_string|pinger_enable|connect_retries|ipcache_\\w+|logfile_\\w+',
  ].join('|')})$`,
);
