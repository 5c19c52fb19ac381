import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import { type ApiStore, startApiStore } from '../fixtures/api-store.js';
import { printManifests } from '../fixtures/manifests.js';

/** Runs `kubectl apply -f -`; what it says of each object, without the objects' API groups. */
async function apply(
  t: Test,
  store: ApiStore,
  manifests: string,
): Promise<{ readonly code: number | null; readonly said: readonly string[]; readonly stderr: string }> {
  const home = t.testdirName;
  const child = spawn('kubectl', ['apply', '--server', store.url, '-f', '-'], {
    env: { PATH: process.env.PATH, HOME: home, KUBECONFIG: '/dev/null', KUBECACHEDIR: `${home}/cache` },
    timeout: 60_000,
    killSignal: 'SIGKILL',
  });
  child.stdin.on('error', () => {});
  const closed = once(child, 'close') as Promise<[number | null]>;
  child.stdin.end(manifests);
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const said = stdout
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/^([a-z]+)[a-z0-9.]*\//, '$1/'));
  return { code: (await closed)[0], said, stderr };
}

t.test('kubectl takes the stream as it is, and has nothing to do the second time', async (t) => {
  t.testdir();
  const store = await startApiStore(t);
  const options = ['proxy', '--target-apps', 'apps.target.example', '--client', '198.51.100.0/24'];
  const { text: stream, objects } = await printManifests(t, options);
  const names = objects.map(({ kind, metadata }) => `${kind.toLowerCase()}/${metadata.name}`);

  const first = await apply(t, store, stream);
  t.same(
    first,
    { code: 0, said: names.map((name) => `${name} created`), stderr: '' },
    'the namespace first, and what is in it after it',
  );
  t.equal(store.objects.size, objects.length);
  const before = new Map(store.objects);

  const second = await apply(t, store, stream);
  // The selector of a budget is one that kubectl always sends again.
  const unchanged = (name: string) =>
    name.startsWith('poddisruptionbudget') ? `${name} configured` : `${name} unchanged`;
  t.same(second, { code: 0, said: names.map(unchanged), stderr: '' });
  t.same(store.objects, before, 'and nothing is another');

  const changed = ({ said }: { readonly said: readonly string[] }) =>
    said.filter((line, at) => line !== unchanged(names[at] ?? ''));
  const other = await printManifests(t, options, { password: 'an0ther-of-sixteen' });
  const third = await apply(t, store, other.text);
  t.same(
    changed(third),
    ['secret/spliceway configured', 'deployment/spliceway configured'],
    'another password replaces the pods, whose variables would stay the old ones',
  );
  const fourth = await apply(
    t,
    store,
    (await printManifests(t, [...options, '--drain-timeout', '2h'], { password: 'an0ther-of-sixteen' })).text,
  );
  t.same(
    changed(fourth),
    ['configmap/spliceway configured', 'deployment/spliceway configured'],
    'and so does another option',
  );
});

t.test('the server of this test is as strict as a real one', async (t) => {
  t.testdir();
  const store = await startApiStore(t);
  const { text: stream } = await printManifests(t, ['proxy', '--client', '198.51.100.0/24']);
  const misspelt = await apply(t, store, stream.replace('policyTypes:', 'policyType:'));
  t.equal(misspelt.code, 1);
  t.match(misspelt.stderr, 'data/spec/policyType is not in the schema');

  const withoutNamespace = await apply(t, await startApiStore(t), stream.slice(stream.indexOf('---')));
  t.equal(withoutNamespace.code, 1);
  t.match(withoutNamespace.stderr, 'namespaces "spliceway" not found');
});
