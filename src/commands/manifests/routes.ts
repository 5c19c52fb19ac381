import type { KubernetesObject, Manifest, Material } from './manifest.js';
import { targetNamespaces } from './target-namespaces.js';

/**
 * Annotations of the Routes that the toolkit makes while it migrates. Each object holds nothing else: applied to a
 * Route that is there it adds them, and an API server refuses to make a new Route of it, since `spec.to` is missing.
 *
 * Source: `haproxy-config.template` of openshift/router, the backend of passthrough Routes.
 */
export function routeObjects(material: Material): readonly Manifest[] {
  return targetNamespaces(material).flatMap((namespace) =>
    material.toolkit.routes.map((name) => ({
      comment: COMMENT,
      object: routeOf(material, { name, namespace }),
    })),
  );
}

const COMMENT = `Let the router keep a silent tunnel for longer than stunnel and spliceway do (12 h; its own default is 1 h).
MTC makes this Route when it starts to move volumes, and deletes it at the end: apply it then, and in every migration anew,
kubectl apply --server-side --field-manager=spliceway -f -
Before, the API server refuses it, and nothing is lost by trying. What is connected already keeps the old time; rsync's
next attempt gets the new one. To have it from the start, for all Routes of the cluster, and with a restart of its routers:
oc patch ingresscontroller/default -n openshift-ingress-operator --type merge -p '{"spec":{"tuningOptions":{"tunnelTimeout":"13h"}}}'`;

// An hour more, so that the end of a tunnel is in the log of spliceway, with its cause.
const TUNNEL_TIMEOUT = '13h';

function routeOf(
  { proxySource }: Material,
  metadata: { readonly name: string; readonly namespace: string },
): KubernetesObject {
  const sources = proxySource.join(' ');
  return {
    apiVersion: 'route.openshift.io/v1',
    kind: 'Route',
    metadata: {
      ...metadata,
      annotations: {
        'haproxy.router.openshift.io/timeout-tunnel': TUNNEL_TIMEOUT,
        // By its old name, which every router knows, and by the one that newer ones prefer.
        ...(sources === ''
          ? {}
          : {
              'haproxy.router.openshift.io/ip_whitelist': sources,
              'haproxy.router.openshift.io/ip_allowlist': sources,
            }),
      },
    },
  };
}
