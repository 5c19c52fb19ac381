import { TunnelError } from '../reasons.js';
import { formatAuthority } from '../target.js';
import { addressViews } from './addresses.js';
import type { Policy, PolicyOptions } from './policy.js';

/** The policy of a target that the operator wrote, every address of which may be dialled, but no listener of this very process. */
export function fixedTargetPolicy(isOwnListener: PolicyOptions['isOwnListener']): Policy {
  return {
    decide: ({ host, port }) => ({
      rule: undefined,
      judge: (address) => {
        // Of a name that a parent resolves nothing is known: it leads somewhere from there, and not to this process.
        if (address === undefined) return undefined;
        if (!addressViews(address).some((view) => isOwnListener(view.toString(), port))) return undefined;
        const where = formatAuthority(host, port);
        return new TunnelError('destination_is_proxy', {
          detail: `${address === host ? where : `${where} (${address})`} is this listener itself`,
          remedy: 'let --target and --listen differ',
        });
      },
    }),
  };
}
