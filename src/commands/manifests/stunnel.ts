import { CLUSTER_PORTS, stunnelClientConfiguration } from '../mtc/configurations.js';
import { routeHost } from '../mtc/route-host.js';
import { ManifestFailure, type Material } from './manifest.js';
import { proxyValue } from './proxy-value.js';

/** Where the Secret of MTC's certificates is mounted in the source pods. */
const CERTIFICATES = '/etc/stunnel/certs';

/**
 * A stunnel.conf for each Route that MTC makes for each source namespace, in one text: each begins with a comment that
 * says `stunnel.conf`, and is complete up to the next one.
 */
export function stunnelConfiguration(material: Material): string {
  const { host, port, username, password } = proxyValue(material);
  const { generation, routes } = material.toolkit;
  const stunnelPort = String(CLUSTER_PORTS[generation].stunnel);
  const files = pairNamespaces(material).flatMap(({ from, to }) =>
    routes.map((route) => {
      const target = routeHost({ route, namespace: to, apps: material.targetApps ?? '' });
      const configuration = stunnelClientConfiguration({
        generation,
        accept: generation === '1.5' ? `localhost:${stunnelPort}` : stunnelPort,
        proxy: `${host}:${port}`,
        target: `${target}:443`,
        ...{ username, password },
        certificateFile: `${CERTIFICATES}/tls.crt`,
        keyFile: `${CERTIFICATES}/tls.key`,
        authorityFile: `${CERTIFICATES}/ca.crt`,
      });
      return `${describe({ material, route, from, to })}${configuration}`;
    }),
  );
  return files.join('\n');
}

function pairNamespaces({ sourceNamespace, targetNamespace }: Material): readonly {
  readonly from: string;
  readonly to: string;
}[] {
  if (targetNamespace.length > 0 && targetNamespace.length !== sourceNamespace.length)
    throw new ManifestFailure(
      `--target-namespace is given ${targetNamespace.length} times and --source-namespace ${sourceNamespace.length} times: give one for each, in the same order, or none where they are the same`,
    );
  return sourceNamespace.map((from, at) => ({ from, to: targetNamespace[at] ?? from }));
}

function describe(options: {
  readonly material: Material;
  readonly route: string;
  readonly from: string;
  readonly to: string;
}): string {
  const { material, route, from, to } = options;
  const volumes =
    material.toolkit.routes.length === 1 ? '' : route === 'dvm' ? ', file systems' : ', block volumes';
  return `# stunnel.conf of the source pods in ${from} (MTC ${material.mtc}${volumes}), as MTC writes it: to compare, not to apply.
# The Route, once there is one: oc get route ${route} -n ${to} -o jsonpath={.spec.host}
`;
}
