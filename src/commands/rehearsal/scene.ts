import type { ProxyKind } from './chain.js';
import { openLine } from './line.js';
import type { Workspace } from './workspace.js';

/** Where everybody is: the workspace as it is seen from there, and what the target is called. */
export interface Scene {
  readonly source: Workspace;
  /** From the source to the target. */
  readonly proxies: readonly Workspace[];
  readonly target: Workspace;
  readonly routeHost: string;
  /** The hosts that proxies must allow for that, as `--allow` has them, without ports. */
  readonly allow: readonly string[];
  /** What there is to tell, as steps of the rehearsal. */
  readonly steps: readonly (readonly [what: string, detail: string])[];
}

/** The Route of the rehearsal. Names below `.localhost` lead to loopback (RFC 6761 §6.3). */
export const ROUTE_HOST = 'dvm-rehearsal.apps.target.localhost';

/** The same where the target is in another network namespace, so that loopback is wrong. */
export const LINE_ROUTE_HOST = 'dvm-rehearsal.apps.target.test';

/** Everybody on loopback; or, for a chain of proxies, each in a network namespace of its own: see `openLine`. */
export async function openScene(
  workspace: Workspace,
  chain: readonly ProxyKind[] | undefined,
): Promise<Scene> {
  if (chain === undefined) {
    const allow = ['dvm-*.apps.target.localhost', '127.0.0.0/8'];
    const everybody = { source: workspace, proxies: [workspace], target: workspace };
    return { ...everybody, routeHost: ROUTE_HOST, allow, steps: [] };
  }
  const line = await openLine(workspace, { proxies: chain.length, routeHost: LINE_ROUTE_HOST });
  const names = [line.source, ...line.proxies, line.target].map(({ place }) => place.name);
  return {
    ...{ source: line.source, proxies: line.proxies, target: line.target },
    ...{ routeHost: LINE_ROUTE_HOST, allow: [LINE_ROUTE_HOST] },
    steps: [
      ['namespaces', `${names.join(' - ')}: each joined to its neighbours alone, none forwards`],
      ['no route', line.proof],
    ],
  };
}
