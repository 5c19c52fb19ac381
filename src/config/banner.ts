import { networkInterfaces } from 'node:os';
import type { Credential } from '../access/credentials.js';
import type { PickedRelay } from '../relay/engines.js';
import { formatAuthority } from '../target.js';
import { type ForwardConfig, waysOf } from './forward-options.js';
import type { Config, ParentRow } from './options.js';

/** What the banners of all commands tell about. */
interface ServiceFacts {
  readonly version: string;
  readonly picked: PickedRelay;
  /** `ip:port` of every listener. */
  readonly addresses: readonly string[];
  /** `ip:port`; undefined where there is none. */
  readonly adminAddress: string | undefined;
}

/** What the banner of `spliceway serve` tells about. */
export interface BannerFacts extends ServiceFacts {
  readonly config: Config;
  readonly credentials: readonly Credential[];
  /** The one that was made up for this run, if any. */
  readonly invented: Credential | undefined;
}

/** What the banner of `spliceway forward` tells about. */
export interface ForwardBannerFacts extends ServiceFacts {
  readonly config: Pick<ForwardConfig, 'target' | 'parent'>;
}

/**
 * What somebody who has just started the proxy needs next, ready to paste, and what the options came to. Passwords that
 * were configured are not shown.
 */
export function banner({ config, credentials, invented, picked, ...facts }: BannerFacts): string {
  const [shown] = credentials;
  const login =
    shown === undefined ? '' : `${encodeURIComponent(shown.name)}:${invented?.password ?? 'PASSWORD'}@`;
  const { address, remark } = stunnelAddress(facts.addresses);
  const [first = ''] = facts.addresses;
  const site = config.allow.length === 0 ? 'example.com' : 'AN-ALLOWED-HOST';
  const lines = [
    `spliceway ${facts.version}`,
    ...facts.addresses.map((each) => `listening      ${each}`),
    '',
    'On the host cluster, in the spec of the MigrationController of the namespace openshift-migration',
    `(${remark}):`,
    `  stunnel_tcp_proxy: http://${login}${address}`,
    'Try it from here:',
    `  curl --proxy http://${login}${first.replace(WILDCARD, '127.0.0.1')} https://${site}/`,
    '',
    `credentials    ${describeCredentials(config.noAuth, credentials.length, invented)}`,
    `destinations   ${config.allow.length === 0 ? 'every host at ports 443 and 6443, no special-purpose address; narrow it with --allow' : `only ${config.allow.map(({ text }) => text).join(' ')}`}`,
    ...(config.deny.length === 0 ? [] : [`denied         ${config.deny.map(({ text }) => text).join(' ')}`]),
    ...config.parent.map(
      ({ rule, ways }, at) =>
        `${at === 0 ? 'parents' : ''}`.padEnd(15) +
        `${rule === undefined ? '' : `${rule.text} `}through ${ways.map(nameOf).join(', else ')}`,
    ),
    ...serviceLines({ picked, ...facts }),
  ];
  return `${lines.join('\n')}\n`;
}

/** What somebody who has just started a port wants to know: where it is, and where it leads. */
export function forwardBanner({ config, ...facts }: ForwardBannerFacts): string {
  const lines = [
    `spliceway ${facts.version}`,
    ...facts.addresses.map((each) => `listening      ${each}`),
    `leads to       ${formatAuthority(config.target.host, config.target.port)}`,
    `through        ${(waysOf(config) ?? []).map(nameOf).join(', else ')}`,
    ...serviceLines(facts),
  ];
  return `${lines.join('\n')}\n`;
}

/** Never its credentials. */
function nameOf(way: ParentRow['ways'][number]): string {
  return 'name' in way ? way.name : way.kind;
}

function serviceLines({ picked, adminAddress }: ServiceFacts): readonly string[] {
  return [
    `metrics        ${adminAddress === undefined ? 'off' : `http://${adminAddress}/metrics`}`,
    `relay engine   ${picked.engine.name}${picked.absent.map(({ name, why }) => ` (${name} is absent: ${why})`).join('')}`,
    '',
  ];
}

/** The host part of a listener on every address of the machine. */
const WILDCARD = /^(?:0\.0\.0\.0|\[::\])(?=:)/;

/** What to write as stunnel's proxy: it runs in pods of another cluster, and takes no IPv6 literal. */
function stunnelAddress(addresses: readonly string[]): { readonly address: string; readonly remark: string } {
  const isLoopback = (each: string) => each.startsWith('127.') || each.startsWith('[::1]');
  const others = addresses.filter((each) => !isLoopback(each));
  const wildcard = others.find((each) => WILDCARD.test(each));
  const fitting = others.find((each) => !each.startsWith('[')) ?? wildcard;
  const address = fitting ?? others[0] ?? addresses[0] ?? '';
  return {
    address: address.replace(WILDCARD, outsideAddress()),
    remark:
      others.length === 0
        ? 'after changing --listen: no pod reaches a listener on loopback'
        : fitting === undefined
          ? 'with a name that has an AAAA record in place of the address: stunnel takes no IPv6 literal'
          : "with another address where the source cluster's pods cannot reach this one",
  };
}

/** An address of this machine that others may know; loopback where it has no other. */
function outsideAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const outside = addresses.find(
    ({ family, internal, address }) => family === 'IPv4' && !internal && !address.startsWith('169.254.'),
  );
  return outside?.address ?? '127.0.0.1';
}

function describeCredentials(noAuth: boolean, count: number, invented: Credential | undefined): string {
  if (noAuth) return 'none asked for (--no-auth)';
  return invented === undefined
    ? `${count} configured`
    : 'invented for this run; set SPLICEWAY_USERNAME and SPLICEWAY_PASSWORD to keep them';
}
