/**
 * Every way in which spliceway refuses or fails a request, each declared once: a table, over 300 lines since it is as long as
 * there are ways. The token is the error, the start of the status phrase, the `Proxy-Status` error (RFC 9209 §2.3 where a type fits, our own word where none does), the metric
 * label, the log field and the README row.
 */
export const REASONS = {
  // The request itself.
  http_request_error: row(
    400,
    'client',
    'the request is not valid HTTP/1.1',
    'send CONNECT host:port HTTP/1.1, or METHOD http://host/path, with one Host header',
  ),
  target_invalid: row(
    400,
    'client',
    'the target is neither host:port nor an http:// URL',
    'write CONNECT host:port, with a decimal port and brackets round IPv6',
  ),
  tls_on_plain_port: row(
    400,
    'client',
    'TLS arrived where plain HTTP is spoken',
    'use http:// in the proxy URL; TLS belongs inside the tunnel',
  ),
  ssh_on_http_port: row(
    400,
    'client',
    'SSH arrived where HTTP is spoken',
    'reach SSH through a tunnel: CONNECT host:port first',
  ),
  socks_on_http_port: row(
    400,
    'client',
    'SOCKS arrived where HTTP is spoken',
    'configure an HTTP proxy, not a SOCKS proxy',
  ),
  http2_on_http1_port: row(
    400,
    'client',
    'HTTP/2 arrived where HTTP/1.1 is spoken',
    'speak HTTP/1.1 to the proxy; HTTP/2 works inside the tunnel',
  ),
  not_http: row(400, 'client', 'what arrived is not HTTP', 'send CONNECT host:port HTTP/1.1'),
  method_not_allowed: row(
    405,
    'client',
    'only CONNECT and requests for http:// URLs are served here',
    'configure this as a proxy, not as a web server',
  ),
  method_unknown: row(
    501,
    'client',
    'the method is unknown',
    'send CONNECT in upper case, or a method of HTTP that is registered',
  ),
  request_timeout: row(
    408,
    'client',
    'the request was not complete in time',
    'send the whole request at once or raise --handshake-timeout',
  ),
  uri_too_long: row(
    414,
    'client',
    'the request line is too long',
    'a host is at most 253 characters, a URL 8192 bytes',
  ),
  header_too_large: row(
    431,
    'client',
    'the header block is too large',
    'send fewer or shorter header fields',
  ),
  // Who is asking.
  credentials_missing: row(
    407,
    'client',
    'no Basic credentials were sent',
    'set user and password in the proxy URL: http://user:password@host:port',
  ),
  credentials_malformed: row(
    407,
    'client',
    'the Proxy-Authorization header is not Basic credentials',
    'send Proxy-Authorization: Basic base64(user:password)',
  ),
  credentials_rejected: row(
    407,
    'client',
    'user or password is wrong',
    'compare the proxy URL with the credentials spliceway was started with',
  ),
  credentials_throttled: row(
    429,
    'client',
    'too many wrong passwords for this user',
    'correct the password; a correct one is accepted at once',
  ),
  user_limit_reached: row(
    429,
    'client',
    'this user has as many tunnels as allowed',
    'wait for one to end or raise --max-tunnels-per-user',
  ),
  client_limit_reached: row(
    429,
    'client',
    'this client address has as many tunnels as allowed',
    'wait for one to end or raise --max-tunnels-per-client',
  ),
  // What the policy says.
  destination_denied: row(
    403,
    'policy',
    'the policy does not allow the destination',
    'add an --allow rule, or remove the --deny rule that matches',
  ),
  destination_ip_prohibited: row(
    403,
    'policy',
    'the destination is a special-purpose address',
    'add an --allow rule that names its address range',
  ),
  destination_is_proxy: row(
    403,
    'policy',
    'the destination is this proxy itself',
    'connect to the destination, not to the proxy',
  ),
  // The way to the upstream.
  dns_error: row(
    502,
    'upstream',
    'the name does not resolve',
    'check the name, and DNS where the proxy runs',
  ),
  dns_timeout: row(
    504,
    'upstream',
    'DNS did not answer in time',
    'check the name servers where the proxy runs, or raise --dns-timeout',
  ),
  connection_refused: row(
    502,
    'upstream',
    'the destination refused the connection',
    'check that something listens on that port',
  ),
  destination_ip_unroutable: row(
    502,
    'upstream',
    'there is no route to the destination',
    'check routes and firewalls where the proxy runs',
  ),
  connection_terminated: row(
    502,
    'upstream',
    'the destination closed the connection while it was made',
    'check the destination and firewalls on the way',
  ),
  connection_timeout: row(
    504,
    'upstream',
    'the destination did not answer in time',
    'check firewalls on the way, or raise --connect-timeout',
  ),
  http_protocol_error: row(
    502,
    'upstream',
    'what the destination answered is not HTTP',
    'check that it speaks HTTP/1.1 on that port; for TLS use CONNECT',
  ),
  http_response_timeout: row(
    504,
    'upstream',
    'the destination did not answer the request in time',
    'check the destination, or raise --idle-timeout',
  ),
  // The way through a parent.
  parent_unreachable: row(
    502,
    'upstream',
    'the parent proxy cannot be reached',
    'check the host and port of --parent, and firewalls on the way to it',
  ),
  parent_timeout: row(
    504,
    'upstream',
    'the parent proxy did not answer in time',
    'check the parent and firewalls on the way, or raise --parent-timeout',
  ),
  parent_credentials_rejected: row(
    502,
    'upstream',
    'the parent proxy wants other credentials',
    'correct user and password in --parent',
  ),
  parent_refused: row(
    502,
    'upstream',
    'the parent proxy refused the request',
    'look at the log of the parent: it says why',
  ),
  parent_protocol_error: row(
    502,
    'upstream',
    'the parent proxy does not speak its protocol',
    'check that the scheme of --parent fits what listens there',
  ),
  parent_unknown: row(
    502,
    'upstream',
    'it cannot be told which parent proxy to use',
    'check the PAC file, or HTTPS_PROXY and NO_PROXY',
  ),
  proxy_loop_detected: row(
    502,
    'upstream',
    'the request has come round in a circle of proxies',
    'look at the parents on the way: one leads back here',
  ),
  // The proxy itself.
  resources_exhausted: row(
    503,
    'proxy',
    'the proxy is out of descriptors, ports or buffers',
    'try again, raise the descriptor limit, or run more replicas',
  ),
  connection_limit_reached: row(
    503,
    'proxy',
    'the proxy has as many tunnels as it can hold',
    'try again, raise --max-tunnels, or run more replicas',
  ),
  draining: row(
    503,
    'proxy',
    'the proxy is shutting down',
    'try again: another replica or the next start will answer',
  ),
  proxy_internal_error: row(
    500,
    'proxy',
    'the proxy made a mistake',
    'report it with the log line of this tunnel id',
  ),
  // Never answered, only accounted: nobody is left to read it.
  client_gone: row(
    499,
    'client',
    'the client left before the tunnel was open',
    'nothing: it is said for the record',
  ),
} as const satisfies Record<string, ReasonRow>;

/** The token of a {@link REASONS} row. */
export type Reason = keyof typeof REASONS;

/** All tokens, in the order of the table. */
export const REASON_TOKENS = Object.keys(REASONS) as readonly Reason[]; // the keys of a const object are its own type

/** What a reason means to those who meet it. */
export interface ReasonRow {
  /** HTTP status code of the reply. */
  readonly status: number;
  /** Whose doing it is: it decides where the engineer looks first. */
  readonly fault: 'client' | 'policy' | 'upstream' | 'proxy';
  /** What happened, when nothing more precise is known. */
  readonly phrase: string;
  /** What to do about it. */
  readonly remedy: string;
}

/** How the dial went: how long each of its stages took, in milliseconds; absent where the stage was not reached. */
export interface DialTimings {
  readonly dnsMs?: number;
  readonly connectMs?: number;
  /** The parents tried, in order: `opened`, or the reason why not. Absent where none was. */
  readonly parents?: readonly ParentDial[];
}

/** What became of one try to go through a parent. */
export interface ParentDial {
  /** `scheme://host:port`. */
  readonly name: string;
  readonly result: Reason | 'opened';
}

/** A request that ends without a tunnel. Stages throw it; `server/` answers, counts and logs it. */
export class TunnelError extends Error {
  override readonly name = 'TunnelError';
  readonly reason: Reason;
  /** What to do, where the case knows better than the table. */
  readonly remedy: string;
  /** Seconds for `Retry-After`; absent: no such header. */
  readonly retryAfterSeconds: number | undefined;
  readonly timings: DialTimings;

  constructor(
    reason: Reason,
    options: {
      /** What happened, precisely; default the phrase of the table. Never holds a secret. */
      readonly detail?: string;
      readonly remedy?: string;
      readonly retryAfterSeconds?: number;
      readonly timings?: DialTimings;
      readonly cause?: unknown;
    } = {},
  ) {
    const row = REASONS[reason];
    super(
      printable(options.detail ?? row.phrase),
      options.cause === undefined ? {} : { cause: options.cause },
    );
    this.reason = reason;
    this.remedy = printable(options.remedy ?? row.remedy);
    this.retryAfterSeconds =
      options.retryAfterSeconds ?? (row.status === 503 || row.status === 429 ? 5 : undefined);
    this.timings = options.timings ?? {};
  }

  /** The same error with what is known of the dial's timings. */
  withTimings(timings: DialTimings): TunnelError {
    return new TunnelError(this.reason, {
      detail: this.message,
      remedy: this.remedy,
      ...(this.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: this.retryAfterSeconds }),
      timings,
      cause: this.cause,
    });
  }

  /** HTTP status code of the reply. */
  get status(): number {
    return REASONS[this.reason].status;
  }
}

/** Longest text that is shown of what a client or a server sent, in characters. */
const MAX_SHOWN = 300;

/**
 * Visible ASCII on one line, capped: what a client sends ends up in status lines, headers, logs and terminals, and none of them
 * may be led astray by it.
 */
export function printable(text: string): string {
  const escaped = text.replace(
    /[^\x20-\x7e]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
  return escaped.length <= MAX_SHOWN ? escaped : `${escaped.slice(0, MAX_SHOWN - 3)}...`;
}

function row(status: number, fault: ReasonRow['fault'], phrase: string, remedy: string): ReasonRow {
  return { status, fault, phrase, remedy };
}
