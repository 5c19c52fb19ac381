import { isIPv4 } from 'node:net';
import { parseHost, parseIpv6, parseTarget, type Target } from '../target.js';

/** A value, or what is wrong with the text and how to write it. */
export type Parsed<T> =
  | { readonly value: T; readonly problem?: never }
  | { readonly problem: string; readonly value?: never };

/** Where to listen. */
export interface ListenAddress {
  readonly host: string;
  /** 0 asks for one that is free. */
  readonly port: number;
}

/** Longest duration, in milliseconds: timers count in 31 bits. */
const MAX_DURATION_MS = 24 * 86_400_000;

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `30s`, `1h30m`, `500ms`, `0`; in milliseconds. */
export function parseDuration(text: string): Parsed<number> {
  if (text === '0') return { value: 0 };
  if (!/^(?:[0-9]+(?:ms|s|m|h|d))+$/.test(text))
    return { problem: 'is not a duration: write it like 500ms, 30s, 5m, 1h30m, 2d or 0' };
  const value = [...text.matchAll(/([0-9]+)(ms|s|m|h|d)/g)].reduce(
    (sum, [, count, unit]) => sum + Number(count) * (UNIT_MS[unit ?? ''] ?? 0),
    0,
  );
  return value <= MAX_DURATION_MS
    ? { value }
    : { problem: 'is longer than 24 days; write 0 for no limit where the option allows it' };
}

/** A duration that is not zero: a wait without a deadline would be a leak. */
export function parseDeadline(text: string): Parsed<number> {
  const parsed = parseDuration(text);
  return parsed.value === 0
    ? { problem: 'must be longer than 0: every wait of this kind has a deadline' }
    : parsed;
}

/** The longest idle time before keepalive probes that Linux takes: 32 767 s; in milliseconds. */
const MAX_KEEPALIVE_MS = 32_767_000;

/** Idle time before TCP keepalive probes (tcp(7)): 0, or whole seconds. */
export function parseKeepalive(text: string): Parsed<number> {
  const parsed = parseDuration(text);
  if (parsed.value === undefined) return parsed;
  if (parsed.value % 1000 !== 0) return { problem: 'must be whole seconds: the kernel counts in them' };
  return parsed.value > MAX_KEEPALIVE_MS
    ? { problem: 'is longer than 32767s, which the kernel does not take' }
    : parsed;
}

/** A whole number from 0. */
export function parseCount(text: string): Parsed<number> {
  return /^[0-9]{1,9}$/.test(text)
    ? { value: Number(text) }
    : { problem: 'is not a whole number from 0 to 999999999' };
}

/** `HOST:PORT`, IPv6 in brackets. */
export function parseListen(text: string): Parsed<ListenAddress> {
  const how = 'write HOST:PORT, such as 0.0.0.0:3128, [::]:3128 or 127.0.0.1:0';
  const match = /^(?:\[([^\]]*)\]|([^:]*)):([0-9]{1,5})$/.exec(text);
  if (match === null) return { problem: `is not a listen address: ${how}` };
  const [, bracketed, plain = '', portText] = match;
  const port = Number(portText);
  if (port > 65535) return { problem: `has a port above 65535: ${how}` };
  const host = bracketed === undefined ? parseHost(plain) : parseIpv6(bracketed);
  return 'problem' in host
    ? { problem: `is not a listen address: ${how}` }
    : { value: { host: host.host, port } };
}

/** Whether nobody outside of the machine reaches a listener on this host. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
}

/** `HOST:PORT` or `off`. */
export function parseAdmin(text: string): Parsed<ListenAddress | 'off'> {
  return text === 'off' ? { value: 'off' } : parseListen(text);
}

/** `HOST:PORT` to connect to. */
export function parseTargetOption(text: string): Parsed<Target> {
  const target = parseTarget(text);
  return 'problem' in target
    ? {
        problem: 'is not HOST:PORT: write a name or an address, IPv6 in brackets, and a port from 1 to 65535',
      }
    : { value: target };
}

/** `NAME:PASSWORD`, split at the first colon (RFC 7617 §2). */
export function parseCredential(text: string): Parsed<{ readonly name: string; readonly password: string }> {
  const colon = text.indexOf(':');
  if (colon < 1 || colon === text.length - 1) return { problem: 'is not NAME:PASSWORD' };
  const name = parseUserName(text.slice(0, colon));
  const password = parsePassword(text.slice(colon + 1));
  if (name.value === undefined) return { problem: name.problem };
  if (password.value === undefined) return { problem: password.problem };
  return { value: { name: name.value, password: password.value } };
}

/** A user name of Basic credentials: it cannot hold a colon (RFC 7617 §2). */
export function parseUserName(text: string): Parsed<string> {
  return /^[^\p{Cc}:]+$/u.test(text)
    ? { value: text }
    : { problem: 'must be a name without colons and control characters' };
}

/** A password of Basic credentials. */
export function parsePassword(text: string): Parsed<string> {
  if (text === '') return { problem: 'is empty' };
  return /^\P{Cc}+$/u.test(text)
    ? { value: text }
    : { problem: 'must be a password without control characters' };
}

/** One of these words. */
export function oneOf<const T extends string>(words: readonly T[]): (text: string) => Parsed<T> {
  return (text) => {
    const value = words.find((word) => word === text);
    return value === undefined
      ? { problem: `must be ${words.slice(0, -1).join(', ')} or ${words.at(-1)}` }
      : { value };
  };
}

/** `true` or `false`. */
export function parseSwitch(text: string): Parsed<boolean> {
  if (text === 'true' || text === 'false') return { value: text === 'true' };
  return { problem: 'must be true or false' };
}

/** Protocol names of `Upgrade` (RFC 9110 §7.8), separated by commas; `none` for none. */
export function parseUpgrades(text: string): Parsed<readonly string[]> {
  if (text === 'none') return { value: [] };
  const names = text.split(',');
  return names.every((name) => /^[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:\/[!#$%&'*+.^_`|~0-9A-Za-z-]+)?$/.test(name))
    ? { value: names }
    : { problem: 'must be protocols as Upgrade has them, such as websocket,SPDY/3.1, or none' };
}
