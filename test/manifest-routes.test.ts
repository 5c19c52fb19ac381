import t from 'tap';
import { parseAllDocuments } from 'yaml';
import { OPTIONS as SERVE_OPTIONS } from '../src/config/options.js';
import { parseDuration } from '../src/config/parsers.js';
import { printManifest } from './fixtures/print-manifest.js';

const read = (...argv: readonly string[]): readonly unknown[] =>
  parseAllDocuments(printManifest('routes', ['--source-namespace', 'shop', ...argv])).map((document) =>
    document.toJS(),
  );

t.test('every Route of the release gets annotations and nothing else', async (t) => {
  const route = (name: string, namespace: string) => ({
    apiVersion: 'route.openshift.io/v1',
    kind: 'Route',
    metadata: { name, namespace, annotations: { 'haproxy.router.openshift.io/timeout-tunnel': '13h' } },
  });
  t.strictSame(read(), [route('dvm', 'shop'), route('dvm-block', 'shop')]);
  t.strictSame(read('--mtc', '1.7', '--target-namespace', 'store'), [route('dvm', 'store')]);
});

t.test('a silent tunnel is ended by spliceway, and not by the router before', async (t) => {
  const hours = parseDuration(SERVE_OPTIONS.idleTimeout.default);
  t.ok((hours.value ?? Number.POSITIVE_INFINITY) < 13 * 3_600_000);
});

t.test('the Routes can be for the proxy alone, in the words of old routers and of new ones', async (t) => {
  const [route] = read('--proxy-source', '192.0.2.10', '--proxy-source', '2001:db8::/64');
  t.match(route, {
    metadata: {
      annotations: {
        'haproxy.router.openshift.io/ip_whitelist': '192.0.2.10/32 2001:db8::/64',
        'haproxy.router.openshift.io/ip_allowlist': '192.0.2.10/32 2001:db8::/64',
      },
    },
  });
});

t.test('it is told when and how to apply them, and what can be done before', async (t) => {
  const text = printManifest('routes', ['--source-namespace', 'shop', '--mtc', '1.6']);
  t.match(text, /^# MTC makes this Route when it starts to move volumes/m);
  t.match(text, /^# kubectl apply --server-side --field-manager=spliceway -f -$/m);
  t.match(
    text,
    /^# oc patch ingresscontroller\/default .*'\{"spec":\{"tuningOptions":\{"tunnelTimeout":"13h"\}\}\}'$/m,
  );
});
