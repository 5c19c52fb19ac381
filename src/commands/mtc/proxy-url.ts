import { parseHost, parsePort } from '../../target.js';

/** What `stunnel_tcp_proxy` says: where the proxy is, and as whom. Both credentials are empty where there are none. */
export interface ProxyUrl {
  /** A name or an IPv4 address. */
  readonly host: string;
  readonly port: number;
  readonly username: string;
  readonly password: string;
}

/** Why a value does not say to stunnel what its writer meant. Neither text holds any of the value. */
export interface ProxyUrlTrap {
  /** What becomes of it on the way. */
  readonly problem: string;
  /** What to write instead. */
  readonly fix: string;
}

/**
 * The value of `stunnel_tcp_proxy` that the operator's template, Go's `url.Parse` and stunnel's parser read these very
 * credentials from, or why there is none. Everything but RFC 3986's unreserved characters is percent-encoded, so that no
 * quotation in the YAML on the way, nor any version of Go, has a say.
 */
export function writeProxyUrl(parts: ProxyUrl): { readonly url: string } | ProxyUrlTrap {
  const { username, password } = parts;
  const userInfo = username === '' && password === '' ? '' : `${encode(username)}:${encode(password)}@`;
  const host = parts.host.includes(':') ? `[${parts.host}]` : parts.host;
  const url = `http://${userInfo}${host}:${parts.port}`;
  const read = readProxyUrl(url);
  if ('problem' in read) return read;
  // Half a surrogate pair is no text, and has become something else.
  return read.username === username && read.password === password ? { url } : NO_TEXT;
}

/** What stunnel will know of a value of `stunnel_tcp_proxy`, or the first trap of `TRAPS` that it is in. */
export function readProxyUrl(text: string): ProxyUrl | ProxyUrlTrap {
  const pieces = dissect(text);
  const trap = TRAPS.find(({ catches }) => catches(pieces));
  if (trap !== undefined) return { problem: trap.problem, fix: trap.fix };
  const { host, port, username = '', password = '' } = pieces;
  return { host, port: Number(port), username, password };
}

/** A value cut as Go's `url.Parse` cuts it, and no further where Go reports an error. */
interface Pieces {
  readonly text: string;
  /** Undefined where there is none. */
  readonly scheme: string | undefined;
  /** Between `//` and the first `/`, `?` or `#`: undefined where there is no `//`. */
  readonly authority: string | undefined;
  /** Behind that. */
  readonly tail: string;
  /** Before the last `@` of the authority, as it is written. */
  readonly userInfo: string | undefined;
  /** Decoded; undefined where the escapes are not UTF-8. */
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** Behind the last `@`, as far as its last colon, and behind that. */
  readonly host: string;
  readonly port: string | undefined;
}

interface Trap extends ProxyUrlTrap {
  readonly catches: (pieces: Pieces) => boolean;
}

const ENCODE = 'percent-encode it, as spliceway manifest host does';
const NAME_IT = 'give the address a name (an AAAA record) and write http://USER:PASSWORD@NAME:PORT';
const WHOLE = 'write http://USER:PASSWORD@HOST:PORT';

const NO_TEXT: ProxyUrlTrap = {
  problem: 'the credentials are not text in UTF-8; the ConfigMap turns what is not into U+FFFD',
  fix: 'choose a password of letters and digits',
};

/** What a Proxy-Authorization of 4096 bytes holds in base64, which is the most that spliceway looks at. */
const LONGEST_CREDENTIALS_BYTES = 3066;

/**
 * Every way in which a value goes wrong, in the order in which the operator, Go and stunnel meet them.
 *
 * Source: mig-operator's `controller_config.yml.j2` (a double-quoted YAML string in an Ansible template); Go's `net/url`
 * (1.19, where tests say what it prints); mig-controller's `generateStunnelProxyConfig`; stunnel's `options.c` (5.68).
 */
const TRAPS: readonly Trap[] = [
  {
    catches: ({ text }) => text === '',
    problem: 'it is empty: MTC connects without a proxy',
    fix: WHOLE,
  },
  {
    catches: ({ text }) => /["\\]/.test(text),
    problem: 'a double quote or a backslash breaks the YAML string that the operator puts it into',
    fix: 'write %22 for ", and %5C for \\',
  },
  {
    catches: ({ text }) => /\{[{%#]/.test(text),
    problem: 'the operator (Ansible) takes {{, {% and {# for a template and evaluates it',
    fix: 'write %7B for {',
  },
  {
    catches: ({ text }) => text !== text.trim() || CONTROL.test(text),
    problem: 'the controller cannot parse it: it holds a control character, or blanks around it',
    fix: 'remove them',
  },
  {
    catches: ({ scheme, authority, text }) =>
      scheme === undefined && authority === undefined && /^[^/?#]*:/.test(text),
    problem: 'it has no scheme: the controller cannot parse it',
    fix: WHOLE,
  },
  {
    catches: ({ authority, host, port }) => authority === undefined || (host === '' && port === undefined),
    problem:
      'Go finds no host in it (without http:// it takes what stands before the colon for a scheme): MTC connects without a proxy, silently',
    fix: WHOLE,
  },
  {
    catches: ({ scheme }) => scheme !== undefined && scheme !== 'http',
    problem:
      'the scheme is ignored: stunnel speaks plain HTTP to the proxy, so a port that wants TLS cannot work',
    fix: 'write http://, and a port of the proxy that takes plain HTTP',
  },
  {
    catches: ({ tail }) => tail.includes('@'),
    problem:
      'a # / or ? in the credentials ends the host: the controller cannot parse it, or connects to the wrong host, silently, where digits stand before',
    fix: 'write %23 for #, %2F for / and %3F for ?',
  },
  {
    catches: ({ text }) => /%(?![0-9a-f]{2})/i.test(text),
    problem: 'a % without two hexadecimal digits behind it: the controller cannot parse it',
    fix: 'write %25 for %',
  },
  {
    catches: ({ userInfo = '' }) => /[^A-Za-z0-9\-._~!$&'()*+,;=:@%]/.test(userInfo),
    problem: 'a character that no URL has in its credentials: the controller cannot parse it',
    fix: ENCODE,
  },
  {
    catches: ({ userInfo, username, password }) =>
      userInfo !== undefined && (username === undefined || password === undefined),
    ...NO_TEXT,
  },
  {
    catches: ({ username = '', password = '' }) => CONTROL.test(username + password),
    problem:
      'a control character in the credentials; a line end puts what follows into stunnel.conf as options of its own',
    fix: 'choose credentials without it: Basic has no way to send one (RFC 7617)',
  },
  {
    catches: ({ username = '' }) => username.includes(':'),
    problem: 'a colon in the user name: Basic takes what follows for the password (RFC 7617)',
    fix: 'choose a user name without one',
  },
  {
    catches: ({ username = '', password = '' }) => /^ | $/.test(username) || /^ | $/.test(password),
    problem: 'stunnel drops blanks at the beginning and at the end of user name and password',
    fix: 'choose credentials without blanks around them',
  },
  {
    catches: ({ username = '', password = '' }) => (username === '') !== (password === ''),
    problem: 'a user name without a password, or the reverse: stunnel sends no credentials at all',
    fix: WHOLE,
  },
  {
    catches: ({ username = '', password = '' }) =>
      Buffer.byteLength(`${username}:${password}`) > LONGEST_CREDENTIALS_BYTES,
    problem: `user name and password are more than ${LONGEST_CREDENTIALS_BYTES} bytes, which no Proxy-Authorization of 4 KiB holds`,
    fix: 'choose shorter ones',
  },
  {
    catches: ({ host }) => /[[\]:]/.test(host),
    problem: 'an IPv6 address: stunnel takes its brackets for a part of a name, and newer Go wants them',
    fix: NAME_IT,
  },
  {
    catches: ({ port = '' }) => port === '',
    problem: 'it has no port: stunnel takes the host for a port of its own pod',
    fix: 'write the port behind the host, as in http://USER:PASSWORD@HOST:3128',
  },
  {
    catches: ({ port = '' }) => typeof parsePort(port) !== 'number',
    problem:
      'its port is not a number from 1 to 65535: the controller cannot parse it, or stunnel takes another port',
    fix: 'write the port that the proxy listens on, as in http://USER:PASSWORD@HOST:3128',
  },
  {
    catches: ({ host }) => 'problem' in parseHost(host),
    problem: 'its host is neither a name nor an IPv4 address, so stunnel cannot look it up',
    fix: 'write a name of letters, digits, dashes and dots (xn--… for others), or an IPv4 address',
  },
];

/** Also what YAML 1.1 takes for a line end: MTC 1.4 and 1.5 write stunnel.conf as YAML. */
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;

function dissect(text: string): Pieces {
  const [, scheme, rest = ''] = /^(?:([a-z][a-z0-9+.-]*):)?(.*)$/is.exec(text) ?? [];
  const [, authority, tail = rest] = /^\/\/([^/?#]*)(.*)$/s.exec(rest) ?? [];
  const at = authority?.lastIndexOf('@') ?? -1;
  const userInfo = at === -1 ? undefined : authority?.slice(0, at);
  const [, username = '', password = ''] = /^([^:]*):?(.*)$/s.exec(userInfo ?? '') ?? [];
  const [, host = '', port] = /^(.*?)(?::([^:\]]*))?$/s.exec(authority?.slice(at + 1) ?? '') ?? [];
  return {
    ...{ text, scheme: scheme?.toLowerCase(), authority, tail, userInfo, host, port },
    ...{ username: decode(username), password: decode(password) },
  };
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function encode(text: string): string {
  return Array.from(Buffer.from(text), (byte) => {
    const character = String.fromCharCode(byte);
    return /[A-Za-z0-9._~-]/.test(character)
      ? character
      : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }).join('');
}
