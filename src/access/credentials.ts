import { createHash, timingSafeEqual } from 'node:crypto';
import basicAuth from 'basic-auth';
import { TunnelError } from '../reasons.js';
import type { FailureThrottle } from './limits.js';

/** The longest `Proxy-Authorization` value that is looked at, in bytes. */
export const MAX_CREDENTIALS_BYTES = 4096;

/** How many accepted headers are remembered: one for each user, as a rule. */
const REMEMBERED = 256;

/** Who a request comes from. */
export interface Identity {
  /** The user name; undefined where no authentication is asked for. */
  readonly user: string | undefined;
}

/** A user name and the password that goes with it. */
export interface Credential {
  readonly name: string;
  readonly password: string;
}

/** Tells who sends a request. */
export interface Authenticator {
  /**
   * @param header the value of `Proxy-Authorization`, undefined where there is none
   * @throws TunnelError `credentials_missing`, `credentials_malformed`, `credentials_rejected`, `credentials_throttled`
   */
  authenticate(header: string | undefined): Identity;
}

/** Lets everybody in: `--no-auth`. */
export const everybody: Authenticator = { authenticate: () => ({ user: undefined }) };

/**
 * Basic authentication (RFC 7617) against these credentials. Unknown user and wrong password take the same time and get
 * the same answer. Too many wrong passwords for a name are throttled for that name alone; the right one always passes,
 * so nobody can lock a running migration out.
 *
 * @param credentials a name may stand more than once, each password is good: that is how credentials are rotated
 */
export function basicAuthenticator(
  credentials: readonly Credential[],
  throttle: FailureThrottle,
): Authenticator {
  const digests = new Map<string, Buffer[]>();
  for (const { name, password } of credentials) {
    digests.set(name, [...(digests.get(name) ?? []), digest(password)]);
  }
  const nobody = [digest('')];
  const accepted = new Map<string, Identity>();

  return {
    authenticate(header) {
      // A hundred volumes send the same header. Nothing can be learnt from how long this takes: the text is compared only
      // where a hash of it, seeded at random by V8, is the same.
      const known = header === undefined ? undefined : accepted.get(header);
      if (known !== undefined) return known;
      if (header === undefined || header === '') throw new TunnelError('credentials_missing');
      if (Buffer.byteLength(header) > MAX_CREDENTIALS_BYTES) {
        throw new TunnelError('credentials_malformed', {
          detail: `Proxy-Authorization is over ${MAX_CREDENTIALS_BYTES} bytes`,
        });
      }
      const sent = basicAuth.parse(header);
      if (sent === undefined) throw new TunnelError('credentials_malformed');
      const expected = digests.get(sent.name);
      const given = digest(sent.pass);
      // Every digest is compared, also for an unknown name: the time must not tell which names exist.
      const matches = (expected ?? nobody).filter((candidate) => timingSafeEqual(candidate, given));
      if (expected !== undefined && matches.length > 0) {
        const identity = { user: sent.name };
        if (accepted.size >= REMEMBERED) accepted.clear();
        accepted.set(header, identity);
        return identity;
      }
      const retryAfterSeconds = throttle.failed(sent.name);
      if (retryAfterSeconds > 0) throw new TunnelError('credentials_throttled', { retryAfterSeconds });
      throw new TunnelError('credentials_rejected');
    },
  };
}

function digest(password: string): Buffer {
  return createHash('sha256').update(password).digest();
}
