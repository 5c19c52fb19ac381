import type { Inventory } from '../../config/manifest-options.js';
import { haproxyConfiguration } from './haproxy.js';
import { hostObjects } from './host.js';
import { inventoryFile } from './inventory-file.js';
import type { Manifest, Material } from './manifest.js';
import { proxyObjects } from './proxy.js';
import { routeObjects } from './routes.js';
import { sourceObjects } from './source.js';
import { squidConfigurationFile } from './squid.js';
import { stunnelConfiguration } from './stunnel.js';
import { targetObjects } from './target.js';
import { tinyproxyConfiguration } from './tinyproxy.js';

/** A part of what a migration needs. */
export interface Part {
  /** What it is and where it goes, in a line of the help. */
  readonly summary: string;
  /** Options that it cannot do without. */
  readonly needs: readonly (keyof typeof NEEDS)[];
  /** Objects for `kubectl apply`, or the text of a file of another kind, which is printed alone. */
  readonly make: (material: Material) => readonly Manifest[] | string;
  /** Namespaces whose egress firewalls `--merge` and `--unmerge` change; absent: none. */
  readonly merges?: (material: Material) => readonly string[];
}

/** What to write for an option that a part needs and nobody gave. */
export const NEEDS = {
  proxy: 'where the pods of the source cluster reach the proxy, as in --proxy proxy.example:3128',
  password: 'the password of the proxy; put it into the inventory, or into SPLICEWAY_PASSWORD',
  sourceNamespace: 'the namespaces that are migrated, as in --source-namespace shop',
  targetApps: 'the domain of the Routes of the target cluster, as in --target-apps apps.target.example',
} as const satisfies Partial<Record<keyof Inventory, string>>;

/** What `spliceway manifest` prints, by its name, in the order of a migration. */
export const PARTS = {
  inventory: {
    summary: 'a file with every parameter, to be edited; the password in it is invented',
    needs: [],
    make: inventoryFile,
  },
  proxy: {
    summary: 'the proxy, on the cluster where it runs',
    needs: [],
    make: proxyObjects,
    merges: ({ namespace }) => [namespace],
  },
  source: {
    summary: 'what lets the pods of the source reach the proxy: the source cluster',
    needs: ['proxy', 'sourceNamespace'],
    make: sourceObjects,
    merges: ({ sourceNamespace }) => [...new Set(sourceNamespace)],
  },
  target: {
    summary: 'what lets the router reach the pods of the target: the target cluster',
    needs: ['sourceNamespace'],
    make: targetObjects,
  },
  routes: {
    summary: 'annotations of the Routes that MTC makes: the target cluster, during the migration',
    needs: ['sourceNamespace'],
    make: routeObjects,
  },
  host: {
    summary: 'stunnel_tcp_proxy of the MigrationController: the host (control) cluster',
    needs: ['proxy', 'password'],
    make: hostObjects,
  },
  stunnel: {
    summary: 'the stunnel.conf that MTC will write for the source pods, to compare with',
    needs: ['proxy', 'password', 'sourceNamespace', 'targetApps'],
    make: stunnelConfiguration,
  },
  squid: { summary: 'a squid.conf that does the same', needs: ['targetApps'], make: squidConfigurationFile },
  haproxy: {
    summary: 'a haproxy.cfg that does the same, as far as HAProxy can',
    needs: ['targetApps'],
    make: haproxyConfiguration,
  },
  tinyproxy: {
    summary: 'a tinyproxy.conf that does the same, as far as tinyproxy can',
    needs: ['password', 'targetApps'],
    make: tinyproxyConfiguration,
  },
} as const satisfies Readonly<Record<string, Part>>;

/** The parts for the help, a line each. */
export function describeParts(): string {
  return Object.entries(PARTS)
    .map(([name, { summary }]) => `  ${name.padEnd(11)} ${summary}\n`)
    .join('');
}
