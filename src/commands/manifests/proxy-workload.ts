import type { Deployment } from 'kubernetes-types/apps/v1.js';
import type { HorizontalPodAutoscaler } from 'kubernetes-types/autoscaling/v2.js';
import type { Container } from 'kubernetes-types/core/v1.js';
import type { PodDisruptionBudget } from 'kubernetes-types/policy/v1.js';
import type { Manifest, Material } from './manifest.js';
import {
  configurationChecksum,
  credentialChecksum,
  DRAIN_WINDOW_MS,
  gracePeriodSeconds,
} from './proxy-configuration.js';
import { ADMIN_PORT, labelsOf, metadataOf, PROXY_PORT, podLabels } from './proxy-identity.js';

/** Name of the port of the pods that clients connect to. */
export const PROXY_PORT_NAME = 'proxy';

/** Name of the port of the pods with metrics and probes. */
export const ADMIN_PORT_NAME = 'admin';

/**
 * What a pod may count on, and what ends it.
 *
 * Memory, measured on Linux 6.18 and Node 20: 72 MiB resident at rest, 85 with 1000 idle tunnels, 127 with 8900 (6 KiB
 * each, of which garbage collection leaves 1.4), and 8 KiB of the kernel's for the two sockets of each, which count as the
 * pod's. 100 tunnels that bring more than the other side takes fill 7.3 MiB of socket buffers each, 726 in all, and
 * pipes up to 64 MiB. So the request holds 30 000 idle tunnels, or half the 100 volumes of a plan when there are two pods; the
 * limit is there for faults, with room for two whole plans in one pod: what runs into it is killed, with all its tunnels.
 *
 * CPU: 0.18 to 0.36 s a GiB (bench/README.md), so the request moves about 1 GiB/s. There is no limit: it would hold bulk and
 * new tunnels back in turns while the node has nothing else to do.
 */
const RESOURCES = {
  requests: { cpu: '250m', memory: '512Mi' },
  limits: { memory: '2Gi' },
};

const READINESS_PERIOD_SECONDS = 5;

/** The cluster autoscaler waits ten minutes for a pod at most, whatever the pod says of itself; tunnels take longer. */
const KEEP_NODE = { 'cluster-autoscaler.kubernetes.io/safe-to-evict': 'false' };

/** The pods. */
export function deploymentOf(material: Material, kinds: ReadonlySet<string>): Manifest {
  const graceSeconds = gracePeriodSeconds(material);
  const scaled = kinds.has('HorizontalPodAutoscaler');
  const checksums = {
    ...(kinds.has('ConfigMap') ? { 'checksum/config': configurationChecksum(material) } : {}),
    ...(kinds.has('Secret') ? { 'checksum/credential': credentialChecksum(material) } : {}),
  };
  const object = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: metadataOf(material),
    spec: {
      // With an autoscaler, every kubectl apply would set its decision back.
      ...(scaled ? {} : { replicas: material.replicas }),
      revisionHistoryLimit: 3,
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
      selector: { matchLabels: podLabels(material) },
      template: {
        metadata: {
          labels: labelsOf(material),
          annotations: { ...KEEP_NODE, ...checksums },
        },
        spec: {
          serviceAccountName: material.name,
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          ...(material.pullSecret === undefined ? {} : { imagePullSecrets: [{ name: material.pullSecret }] }),
          terminationGracePeriodSeconds: graceSeconds,
          // Targets are whole names: asked as they are first, and not below each of the cluster's domains.
          dnsConfig: { options: [{ name: 'ndots', value: '1' }] },
          // No runAsUser: OpenShift gives each namespace its own, elsewhere the image has one.
          securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
          topologySpreadConstraints: ['kubernetes.io/hostname', 'topology.kubernetes.io/zone'].map(
            (topologyKey) => ({
              maxSkew: 1,
              topologyKey,
              whenUnsatisfiable: 'ScheduleAnyway' as const,
              labelSelector: { matchLabels: podLabels(material) },
            }),
          ),
          containers: [containerOf(material)],
        },
      },
    },
  } satisfies Deployment;
  return {
    comment: `The proxy: pods that share nothing, each with tunnels of its own, which end with it.
A pod that ends accepts for 30 s more, then waits for its tunnels, within the ${graceSeconds} s of terminationGracePeriodSeconds; new
pods do not wait for that. Draining a node takes as long.
${
  scaled
    ? 'The autoscaler decides on replicas, so that they do not stand here: applying this again does not undo it.\n'
    : ''
}A ResourceQuota with limits.cpu wants a limit; without a quota, none is better.
Check: the cluster can pull the image, and kubectl rollout status -n ${material.namespace} deployment/${material.name} comes to an end.`,
    object,
  };
}

/** The one container of a pod. */
function containerOf(material: Material): Container {
  return {
    name: 'spliceway',
    image: imageOf(material),
    imagePullPolicy: 'IfNotPresent',
    args: ['serve'],
    envFrom: [{ configMapRef: { name: material.name } }, { secretRef: { name: material.name } }],
    ports: [
      { name: PROXY_PORT_NAME, containerPort: PROXY_PORT, protocol: 'TCP' },
      { name: ADMIN_PORT_NAME, containerPort: ADMIN_PORT, protocol: 'TCP' },
    ],
    resources: RESOURCES,
    startupProbe: {
      httpGet: { path: '/live', port: ADMIN_PORT_NAME },
      periodSeconds: 1,
      timeoutSeconds: 1,
      failureThreshold: 60,
    },
    // Who restarts a pod cuts its tunnels: only one that has been silent for a minute.
    livenessProbe: {
      httpGet: { path: '/live', port: ADMIN_PORT_NAME },
      periodSeconds: 10,
      timeoutSeconds: 5,
      failureThreshold: 6,
    },
    // A pod that drains says so at once, but on a node without another one it is still what new connections have to reach,
    // until the load balancer has noticed: Kubernetes from 1.26 leads them to pods that end as long as these are ready.
    readinessProbe: {
      httpGet: { path: '/ready', port: ADMIN_PORT_NAME },
      periodSeconds: READINESS_PERIOD_SECONDS,
      timeoutSeconds: 3,
      failureThreshold: Math.ceil(DRAIN_WINDOW_MS / 1000 / READINESS_PERIOD_SECONDS) + 1,
    },
    securityContext: {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      runAsNonRoot: true,
      capabilities: { drop: ['ALL'] },
    },
  };
}

/** Keeps whoever drains nodes from ending several pods at once. */
export function disruptionBudgetOf(material: Material): Manifest {
  const object = {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: metadataOf(material),
    spec: {
      maxUnavailable: 1,
      unhealthyPodEvictionPolicy: 'AlwaysAllow',
      selector: { matchLabels: podLabels(material) },
    },
  } satisfies PodDisruptionBudget;
  return {
    comment: `Node drains end one pod at a time, and never wait for one that is not well.
Kubernetes before 1.26 (OpenShift before 4.13) does not know unhealthyPodEvictionPolicy: leave that line out there.`,
    object,
  };
}

/** More pods when the present ones are busy. */
export function autoscalerOf(material: Material): Manifest {
  const object = {
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    metadata: metadataOf(material),
    spec: {
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: material.name },
      minReplicas: material.replicas,
      maxReplicas: material.maxReplicas,
      metrics: [
        {
          type: 'Resource',
          resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 80 } },
        },
      ],
      behavior: {
        scaleUp: { stabilizationWindowSeconds: 0, policies: [{ type: 'Pods', value: 2, periodSeconds: 30 }] },
        // The longest that there are.
        scaleDown: {
          stabilizationWindowSeconds: 3600,
          policies: [{ type: 'Pods', value: 1, periodSeconds: 1800 }],
        },
      },
    },
  } satisfies HorizontalPodAutoscaler;
  return {
    comment: `More pods when they take 80 % of the CPU they asked for, which is 5 to 9 Gbit/s each: from there on the network of another
node helps. Only new tunnels go to new pods. Fewer pods at leisure, for the one that goes cuts what outlives its drain.
Check: kubectl get hpa tells a percentage, and not <unknown>.`,
    object,
  };
}

/**
 * Where the image is: as given, or where OpenShift keeps the images of the namespace. A short name would be looked for on
 * Docker Hub, where anybody could offer one.
 */
function imageOf({ image, namespace, version }: Material): string {
  return (
    image ??
    `image-registry.openshift-image-registry.svc:5000/${namespace}/spliceway:${version.replaceAll('+', '_')}`
  );
}
