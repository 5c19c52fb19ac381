import type { KubernetesObject, Manifest, Material } from './manifest.js';
import { proxyValue } from './proxy-value.js';

/** The one key of the MigrationController that is ours; it has no published types. */
interface MigrationController extends KubernetesObject {
  readonly spec: { readonly stunnel_tcp_proxy: string };
}

const COMMENT = `For the host (control) cluster, whose migration-controller writes the stunnel.conf of every migration. The address must
be reachable from pods of the SOURCE cluster: they are the ones that connect to it.

It is a part of the MigrationController that exists, and changes nothing else in it:
  spliceway manifest host --inventory FILE | kubectl apply --server-side --field-manager=spliceway -f -
where another field manager has set the key before, with --force-conflicts. Or, with the output in host.yaml:
  oc patch migrationcontroller migration-controller -n openshift-migration --type merge -p "$(cat host.yaml)"

The operator writes it into the ConfigMap migration-controller and restarts the controller, which reads it once: for
every plan, every kind of endpoint, and migrations within a cluster as well. There is no NO_PROXY for stunnel. Set it
before a migration starts, and take it away when all are done:
  oc patch migrationcontroller migration-controller -n openshift-migration --type merge -p '{"spec":{"stunnel_tcp_proxy":""}}'

The password can be read here, in that ConfigMap, in the controller's log, in a ConfigMap of every source namespace and
in stunnel's log there. Use one for this migration alone, which leads to its Routes only and expires.

Every character that is not unreserved in RFC 3986 is percent-encoded, so that Go, the operator's template and stunnel
read the same. http:// stays, also where the proxy has TLS: stunnel speaks plain HTTP to it.`;

/** The part of the MigrationController that names the proxy, to be put on the one of the host cluster. */
export function hostObjects(material: Material): readonly Manifest[] {
  const object: MigrationController = {
    apiVersion: 'migration.openshift.io/v1alpha1',
    kind: 'MigrationController',
    metadata: { name: 'migration-controller', namespace: 'openshift-migration' },
    spec: { stunnel_tcp_proxy: proxyValue(material).url },
  };
  return [{ comment: COMMENT, object }];
}
