import type { Generation } from './configurations.js';

/** What a release of the Migration Toolkit for Containers, or of `crane transfer-pvc`, puts into clusters. */
export interface Toolkit {
  /** Whose stunnel configuration it writes. */
  readonly generation: Generation;
  /** Labels of the pods with rsync and stunnel, in source and destination namespaces alike: one of these values of `app`. */
  readonly apps: readonly string[];
  /**
   * Where the source's stunnel runs: beside rsync in each of its pods, or in a pod of its own, which the others reach
   * through a Service at its `stunnelPort`.
   */
  readonly sourceStunnel: 'sidecar' | 'pod';
  /** The TCP port that the destination's stunnel listens on, where the router of the cluster leads the Route. */
  readonly stunnelPort: number;
  /** Names of the Routes that it makes in each destination namespace. */
  readonly routes: readonly string[];
}

const RSYNC = 'directvolumemigration-rsync-transfer';
const BLOCK = 'directvolumemigration-rsync-transfer-block';

/**
 * Releases by what people call them. 1.4 and 1.5 label their rsync pods without `owner`, 1.4 runs the source's
 * stunnel apart from them, 1.8 moves block volumes in pods and through Routes of their own.
 *
 * Source: migtools/mig-controller, `pkg/controller/directvolumemigration`, of each release.
 */
export const TOOLKITS = {
  '1.4': { generation: '1.4', apps: [RSYNC], sourceStunnel: 'pod', stunnelPort: 2222, routes: ['dvm'] },
  '1.5': { generation: '1.5', apps: [RSYNC], sourceStunnel: 'sidecar', stunnelPort: 2222, routes: ['dvm'] },
  '1.6': { generation: '1.6', apps: [RSYNC], sourceStunnel: 'sidecar', stunnelPort: 6443, routes: ['dvm'] },
  '1.7': { generation: '1.6', apps: [RSYNC], sourceStunnel: 'sidecar', stunnelPort: 6443, routes: ['dvm'] },
  '1.8': {
    generation: '1.6',
    apps: [RSYNC, BLOCK],
    sourceStunnel: 'sidecar',
    stunnelPort: 6443,
    routes: ['dvm', 'dvm-block'],
  },
} as const satisfies Readonly<Record<string, Toolkit>>;
