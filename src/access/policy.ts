import { TunnelError } from '../reasons.js';
import { formatAuthority, type Target } from '../target.js';
import {
  type AddressRange,
  addressViews,
  destinationViews,
  inRange,
  liesIn,
  type SpecialPurpose,
  specialPurpose,
  type View,
} from './addresses.js';
import { DEFAULT_PORTS, hasPort, holdsOne, matchesName, type Rule } from './rules.js';

/** What the policy says of a target before its addresses are known. */
export interface Decision {
  /** The rule that allows the name; undefined where the addresses decide, or where there are no rules. */
  readonly rule: Rule | undefined;
  /**
   * Whether this address may be dialled for this target.
   *
   * @param address undefined: it will not be known, for a parent proxy resolves the name. Then only a name rule allows it, or
   *   the absence of rules
   * @param resolved the name that DNS answered for, where a search domain made it another than the target's
   * @returns undefined when it may, otherwise the refusal
   */
  readonly judge: (address: string | undefined, resolved?: string) => TunnelError | undefined;
}

/** The rules in force, and what only the running server knows. */
export interface PolicyOptions {
  /** Only what a rule allows; where there is none, every host at {@link DEFAULT_PORTS}. */
  readonly allow: readonly Rule[];
  /** A deny wins over every allow. Default none. */
  readonly deny: readonly Rule[];
  /** Whether address and port are a listener of this very process: never dialled, whatever the rules say. */
  readonly isOwnListener: (address: string, port: number) => boolean;
}

/** Decides which targets a tunnel may lead to. */
export interface Policy {
  /**
   * Judges the target by its name and port; the addresses are judged as they become known, by the decision's `judge`.
   *
   * @throws TunnelError `destination_denied` where no address could make the target acceptable
   */
  decide(target: Target): Decision;
}

/**
 * The policy over these rules. A range rule opens a special-purpose range by lying inside it: `127.0.0.0/8` means loopback,
 * `0.0.0.0/0` or `[fc00::]/7` do not mean what cloud metadata hides among them.
 */
export function createPolicy(options: PolicyOptions): Policy {
  const decide = decider(options);
  const known = new WeakMap<Target, Decision>();
  return {
    decide(target) {
      // By identity: equal targets are the same object as long as they are remembered.
      const before = known.get(target);
      if (before !== undefined) return before;
      const decision = remembering(decide(target), (address) => options.isOwnListener(address, target.port));
      known.set(target, decision);
      return decision;
    },
  };
}

/** So many addresses of a target are judged once only. */
const REMEMBERED = 256;

/** The same decision, which judges an address that may be dialled only once: the rules do not change, and a refusal is an error of its own. */
function remembering({ rule, judge }: Decision, isOwn: (address: string) => boolean): Decision {
  const permitted = new Set<string>();
  return {
    rule,
    judge(address, resolved) {
      const question = `${address} ${resolved}`;
      // The machine may have got an address since.
      if (permitted.has(question) && (address === undefined || !isOwn(address))) return undefined;
      const refusal = judge(address, resolved);
      if (refusal !== undefined) return refusal;
      if (permitted.size >= REMEMBERED) permitted.clear();
      permitted.add(question);
      return undefined;
    },
  };
}

function decider(options: PolicyOptions): Policy['decide'] {
  const byDefault = options.allow.length === 0;
  return (target) => {
    const { host, port } = target;
    const allowAtPort = options.allow.filter((rule) => hasPort(rule.ports, port));
    const denyAtPort = options.deny.filter((rule) => hasPort(rule.ports, port));
    const deniedBy = denyAtPort.find((rule) => matchesName(rule, target));
    if (deniedBy !== undefined) throw denied(target, deniedBy);
    if (byDefault ? !hasPort(DEFAULT_PORTS, port) : allowAtPort.length === 0) {
      throw unallowed(target, byDefault);
    }
    const rule = allowAtPort.find((candidate) => matchesName(candidate, target));
    const allowedRanges = rangesOf(allowAtPort);
    if (!byDefault && rule === undefined && allowedRanges.length === 0) throw unallowed(target, false);

    const judgeAddress = (address: string, resolved = host): TunnelError | undefined => {
      const views = addressViews(address);
      const where = describe(target, address);
      if (views.some((view) => options.isOwnListener(view.toString(), port))) {
        return new TunnelError('destination_is_proxy', { detail: `${where} is this proxy itself` });
      }
      // A search domain may have made another name of it, which a rule names.
      const deniedAs = denyAtPort.find((candidate) => matchesName(candidate, { ...target, host: resolved }));
      if (deniedAs !== undefined) return denied(target, deniedAs, resolved);
      const deniedByRange = denyAtPort.find(({ hosts }) => 'network' in hosts && holdsOne(hosts, views));
      if (deniedByRange !== undefined) return denied(target, deniedByRange, address);
      for (const view of views) {
        const purpose = unopenedPurpose(view, allowedRanges);
        if (purpose === undefined) continue;
        return new TunnelError('destination_ip_prohibited', {
          detail: `${where} is special-purpose (${purpose.name}, ${purpose.source})`,
          remedy: toAllow(
            `an address range inside ${purpose.range.text}, such as ${formatAuthority(view.toString(), port)}`,
            byDefault,
          ),
        });
      }
      const destination = destinationViews(address);
      if (byDefault || rule !== undefined || allowedRanges.some((range) => holdsOne(range, destination)))
        return undefined;
      return unallowed(target, false, address);
    };

    const judgeName = (): TunnelError | undefined => {
      if (isLocalhost(host)) {
        const [first, second] = [judgeAddress('127.0.0.1'), judgeAddress('::1')];
        // Either of them will do to be allowed, and either to be denied.
        const denial = [first, second].find((refusal) => refusal?.reason === 'destination_denied');
        return denial ?? (first && second);
      }
      return byDefault || rule !== undefined ? undefined : unnamed(target);
    };
    const judge: Decision['judge'] = (address, resolved) =>
      address === undefined ? judgeName() : judgeAddress(address, resolved);

    // A literal is its own address: no need to wait for the dial to refuse it.
    const refusal = target.family === 0 ? undefined : judge(host);
    if (refusal !== undefined) throw refusal;
    return { rule, judge };
  };
}

function denied(target: Target, rule: Rule, address?: string): TunnelError {
  return new TunnelError('destination_denied', {
    detail: `${describe(target, address)} matches deny rule ${rule.text}`,
    remedy: `remove --deny ${rule.text}`,
  });
}

function unallowed(target: Target, byDefault: boolean, address?: string): TunnelError {
  const authority = formatAuthority(target.host, target.port);
  return new TunnelError('destination_denied', {
    detail: byDefault
      ? `${authority} is not at port 443 or 6443, which is all that is allowed without --allow rules`
      : `${describe(target, address)} matches no allow rule`,
    remedy: toAllow(authority, byDefault),
  });
}

/** Refuses a name whose addresses stay unknown here, where rules about addresses alone could allow it. */
function unnamed(target: Target): TunnelError {
  const authority = formatAuthority(target.host, target.port);
  return new TunnelError('destination_denied', {
    detail: `${authority} matches no allow rule by name, and by address it cannot be judged: the parent proxy resolves it`,
    remedy: `add --allow ${authority}, or --parent ${authority}=direct`,
  });
}

/** Loopback whoever resolves it (RFC 6761 §6.3). */
function isLocalhost(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost');
}

/** The first rule ends what is allowed without rules; who follows the remedy must not lose that unawares. */
function toAllow(what: string, byDefault: boolean): string {
  return byDefault ? `add --allow ${what}, and --allow *:443,6443 to keep the rest` : `add --allow ${what}`;
}

/** `name:443`, and `name:443 (10.0.0.1)` where the address is what was judged. */
function describe(target: Target, address?: string): string {
  const authority = formatAuthority(target.host, target.port);
  return address === undefined || address === target.host ? authority : `${authority} (${address})`;
}

/** The special purpose of an address, unless one of the ranges opens it. */
function unopenedPurpose(view: View, ranges: readonly AddressRange[]): SpecialPurpose | undefined {
  const purpose = specialPurpose(view);
  if (purpose === undefined) return undefined;
  return ranges.some((range) => inRange(view, range) && liesIn(range, purpose.range)) ? undefined : purpose;
}

function rangesOf(rules: readonly Rule[]): readonly AddressRange[] {
  return rules.flatMap(({ hosts }) => ('network' in hosts ? [hosts] : []));
}
