import { Resolver } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { TunnelError } from '../reasons.js';
import type { StopSignal } from '../stop.js';
import type { Target } from '../target.js';

/** Where names come from; the defaults are the system's own files. */
export interface ResolveOptions {
  /** Deadline for all queries of one name together, in milliseconds. */
  readonly dnsTimeoutMs: number;
  /** hosts(5). Default `/etc/hosts`. */
  readonly hostsFile?: string;
  /** resolv.conf(5), for `search`, `domain` and `options ndots`; c-ares reads the name servers. Default `/etc/resolv.conf`. */
  readonly resolvConf?: string;
}

/**
 * How long the AAAA answer is waited for once the A answer is there, in milliseconds: some name servers never answer AAAA
 * (RFC 4074 §4.1), and that must not cost the whole deadline. The A answer is waited for: few networks do without.
 */
const AAAA_PATIENCE_MS = 1000;

/**
 * Resolves a name to the addresses of both families, IPv6 first within what DNS gives: hosts file, then DNS along the
 * search domains, as resolv.conf(5) says. It does not call getaddrinfo(3): libuv runs that on four threads that all
 * names share, and one dead name server would stall every dial. c-ares waits on sockets instead, and is cancelled at the deadline.
 *
 * @param signal cancels the queries; the promise then rejects with the signal's reason
 * @throws TunnelError `dns_error` or `dns_timeout`
 */
export async function resolveName(
  { host: name, absolute }: Pick<Target, 'host' | 'absolute'>,
  options: ResolveOptions,
  signal: StopSignal,
): Promise<Resolved> {
  // RFC 6761 §6.3: these names are loopback and never asked of DNS.
  if (name === 'localhost' || name.endsWith('.localhost')) return { name, addresses: ['127.0.0.1', '::1'] };
  const fromFile = addressesIn(await readText(options.hostsFile ?? '/etc/hosts'), name);
  if (fromFile.length > 0) return { name, addresses: fromFile };
  const rules = parseResolvConf(await readText(options.resolvConf ?? '/etc/resolv.conf'));
  signal.throwIfAborted();

  // One resolver a name: cancelling is per resolver, and a new one sees the name servers of now. c-ares reads the `timeout`
  // of resolv.conf(5) by itself, but Node overrides its `attempts`.
  const resolver = new Resolver({ timeout: -1, ...(rules.attempts ? { tries: rules.attempts } : {}) });
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    resolver.cancel();
  }, options.dnsTimeoutMs);
  const onAbort = () => resolver.cancel();
  signal.addEventListener('abort', onAbort);
  try {
    const failures: unknown[] = [];
    for (const candidate of absolute ? [name] : candidates(name, rules)) {
      const answer = await askServers(resolver, candidate, () => timedOut || signal.aborted);
      signal.throwIfAborted();
      if (answer.addresses.length > 0) return { name: candidate, addresses: answer.addresses };
      failures.push(...answer.failures);
      if (timedOut) break;
    }
    // "No such name" is the least of what can be said; a server that failed tells more.
    const failure = failures.find((each) => !isAbsent(each)) ?? failures[0];
    throw failed(name, timedOut || codeOf(failure) === 'ETIMEOUT', failure);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}

/** The addresses of a name. */
export interface Resolved {
  /** The name that has them: the one asked for, or that with a search domain behind it. */
  readonly name: string;
  readonly addresses: readonly string[];
}

interface DnsAnswer {
  readonly addresses: readonly string[];
  readonly failures: readonly unknown[];
}

/** Asks one server after the other while they say that they cannot tell; c-ares by itself goes on only after silence. */
async function askServers(resolver: Resolver, name: string, isOver: () => boolean): Promise<DnsAnswer> {
  const servers = resolver.getServers();
  let answer = await askBothFamilies(resolver, name);
  for (let next = 1; next < servers.length && !isOver() && isUnable(answer); next += 1) {
    resolver.setServers(servers.slice(next));
    answer = await askBothFamilies(resolver, name);
  }
  return answer;
}

async function askBothFamilies(resolver: Resolver, name: string): Promise<DnsAnswer> {
  const queries = [resolver.resolve6(name), resolver.resolve4(name)] as const;
  let patience: NodeJS.Timeout | undefined;
  queries[1].then(
    () => {
      patience = setTimeout(() => resolver.cancel(), AAAA_PATIENCE_MS);
    },
    () => {},
  );
  const answers = await Promise.allSettled(queries);
  clearTimeout(patience);
  return {
    addresses: answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : [])),
    failures: answers.flatMap((answer) => (answer.status === 'rejected' ? [answer.reason as unknown] : [])),
  };
}

/** The addresses that hosts(5) gives a name, in the order of the file. */
export function addressesIn(hosts: string, name: string): readonly string[] {
  const addresses = new Set<string>();
  for (const line of hosts.split('\n')) {
    const [address = '', ...names] = line.replace(/#.*/, '').trim().split(/\s+/);
    if (isIP(address) !== 0 && names.some((alias) => alias.toLowerCase().replace(/\.$/, '') === name)) {
      addresses.add(address);
    }
  }
  return [...addresses];
}

/** What resolv.conf(5) says that c-ares does not see to by itself. */
export interface ResolvConf {
  readonly domains: readonly string[];
  /** A name with at least so many dots is tried as it is first. Default 1. */
  readonly ndots: number;
  /** How often a name server is asked that does not answer; undefined where the file does not say. */
  readonly attempts: number | undefined;
}

/** The last `search` or `domain` line counts, as resolv.conf(5) says. */
export function parseResolvConf(text: string): ResolvConf {
  let domains: readonly string[] = [];
  let ndots = 1;
  let attempts: number | undefined;
  for (const line of text.split('\n')) {
    const [keyword, ...words] = line
      .replace(/[#;].*/, '')
      .trim()
      .split(/\s+/);
    if (keyword === 'search') domains = words;
    if (keyword === 'domain') domains = words.slice(0, 1);
    if (keyword !== 'options') continue;
    for (const word of words) {
      const [, option, count] = /^(ndots|attempts):([0-9]+)$/.exec(word) ?? [];
      if (option === 'ndots') ndots = Math.min(Number(count), 15);
      if (option === 'attempts') attempts = Math.min(Math.max(Number(count), 1), 5);
    }
  }
  return {
    domains: domains.map((domain) => domain.replace(/\.$/, '')).filter((domain) => domain !== ''),
    ndots,
    attempts,
  };
}

/** The names to ask for, in the order of resolv.conf(5). */
export function candidates(
  name: string,
  { domains, ndots }: Pick<ResolvConf, 'domains' | 'ndots'>,
): readonly string[] {
  const expanded = domains.map((domain) => `${name}.${domain}`);
  const dots = name.split('.').length - 1;
  return dots >= ndots ? [name, ...expanded] : [...expanded, name];
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    if (['EMFILE', 'ENFILE'].includes(codeOf(cause)))
      throw new TunnelError('resources_exhausted', { detail: `${path} cannot be opened`, cause });
    return ''; // A system without the file has nothing to say, as with getaddrinfo(3).
  }
}

function failed(name: string, timedOut: boolean, cause: unknown): TunnelError {
  if (timedOut)
    return new TunnelError('dns_timeout', { detail: `DNS did not answer for ${name} in time`, cause });
  return new TunnelError('dns_error', {
    detail: `${name} does not resolve (${dnsWords(codeOf(cause))})`,
    cause,
  });
}

function dnsWords(code: string): string {
  const words: Record<string, string> = {
    ENOTFOUND: 'NXDOMAIN',
    ENODATA: 'it has no address',
    ESERVFAIL: 'SERVFAIL',
    EREFUSED: 'REFUSED',
    ECONNREFUSED: 'no name server answers',
  };
  return words[code] ?? code;
}

function isAbsent(error: unknown): boolean {
  return ['ENOTFOUND', 'ENODATA'].includes(codeOf(error));
}

/** Answers after which getaddrinfo(3), too, asks the next name server. */
function isUnable({ addresses, failures }: DnsAnswer): boolean {
  return (
    addresses.length === 0 &&
    failures.some((each) => ['ESERVFAIL', 'EREFUSED', 'ENOTIMP'].includes(codeOf(each)))
  );
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'unknown';
}
