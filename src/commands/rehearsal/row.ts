import { randomBytes } from 'node:crypto';

import type { ProxyKind } from './chain.js';
import { type SplicewayParty, startSpliceway } from './parties.js';
import { type Parent, type SquidParty, startSquid } from './squid.js';
import type { Workspace } from './workspace.js';

/** A running proxy on the way from the source to the target: where it is reached, and with which credentials. */
export type RowProxy = Parent & {
  /** `spliceway 1`: what it is and where it stands in the row; `spliceway` on the machine itself. */
  readonly name: string;
} & (
    | { readonly kind: 'spliceway'; readonly party: SplicewayParty }
    | { readonly kind: 'squid'; readonly party: SquidParty }
  );

/** What the proxies of a row are told. */
export interface RowOptions {
  /** One for each of the places. */
  readonly kinds: readonly ProxyKind[];
  readonly target: { readonly host: string; readonly port: number };
  /** `--allow` of every spliceway. */
  readonly allow: readonly string[];
  readonly relay?: string;
  /** Called when a proxy runs. */
  readonly onStart: (proxy: RowProxy, parent: RowProxy | undefined) => void;
}

/**
 * Starts a row of proxies, the last one first: `places` are the workspace as seen from each, from the source to the
 * target. Each has credentials of its own, and all but the last go through the next one. Throws what the programs'
 * starters throw.
 */
export async function startRow(
  places: readonly Workspace[],
  options: RowOptions,
): Promise<readonly RowProxy[]> {
  const row: RowProxy[] = [];
  for (const [index, workspace] of [...places.entries()].reverse()) {
    const [parent] = row;
    const proxy = await startProxy(workspace, { ...options, index, parent });
    row.unshift(proxy);
    options.onStart(proxy, parent);
  }
  return row;
}

async function startProxy(
  workspace: Workspace,
  options: RowOptions & { readonly index: number; readonly parent: RowProxy | undefined },
): Promise<RowProxy> {
  const { index, parent, allow, relay, target } = options;
  const { address, ports } = workspace.place;
  const kind = options.kinds[index] ?? 'spliceway';
  const name = ports === 'own' ? `${kind} ${index + 1}` : kind;
  const credentials = { username: 'rehearsal', password: randomBytes(18).toString('base64url') };
  if (kind === 'squid') {
    const through = parent === undefined ? {} : { parent };
    const party = await startSquid(workspace, { name, credentials, target, ...through });
    return { kind, name, address, port: party.port, credentials, party };
  }
  const party = await startSpliceway(workspace, {
    name,
    credentials,
    allow,
    ...(relay === undefined ? {} : { relay }),
    ...(parent === undefined ? {} : { parent: urlOf(parent) }),
  });
  return { kind, name, address, port: party.port, credentials, party };
}

// What is random in it needs no escape in a URL.
function urlOf({ address, port, credentials }: Parent): string {
  return `http://${credentials.username}:${credentials.password}@${address}:${port}`;
}
