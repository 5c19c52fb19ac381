import { execFile, execFileSync } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import {
  MANIFEST_PASSWORD,
  type PrintedObject,
  proxyManifests,
  readManifests,
} from './fixtures/manifests.js';

const FOLDER = 'docker/kubernetes';

const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { readonly version: string };

/** What each kustomization is, said in parameters of `spliceway manifest proxy`. */
const KUSTOMIZATIONS: Readonly<Record<string, readonly string[]>> = {
  base: ['--image', `localhost/spliceway:${version}`, '--without', 'ServiceMonitor'],
  openshift: [],
};

/** A copy of the folder with credentials; the test ends it. */
function copyWith(t: Test, { password = MANIFEST_PASSWORD } = {}): string {
  const copy = join(t.testdir({ copy: {} }), 'copy');
  cpSync(FOLDER, copy, { recursive: true });
  const example = readFileSync(join(copy, 'base/credentials.env.example'), 'utf8');
  writeFileSync(
    join(copy, 'base/credentials.env'),
    example.replace(/^SPLICEWAY_PASSWORD=$/m, `$&${password}`),
  );
  return copy;
}

async function render(folder: string): Promise<readonly PrintedObject[]> {
  const { stdout } = await promisify(execFile)('kubectl', ['kustomize', folder], { timeout: 60_000 });
  return readManifests(stdout).objects;
}

/** Without what kustomize and manifest do differently: digests in names here, checksums in annotations there. */
function comparable(objects: readonly PrintedObject[]): readonly unknown[] {
  return objects
    .map((object) => {
      const text = JSON.stringify(object).replace(/"name":"(spliceway)-[a-z0-9]{10}"/g, '"name":"$1"');
      const plain = JSON.parse(text, (key, value) =>
        key === 'annotations' && 'checksum/config' in value ? undefined : value,
      ) as PrintedObject;
      return { key: `${plain.kind} ${plain.metadata.name}`, plain };
    })
    .sort((a, b) => (a.key < b.key ? -1 : 1))
    .map(({ plain }) => plain);
}

for (const [name, parameters] of Object.entries(KUSTOMIZATIONS))
  t.test(`${name} renders what manifest proxy ${parameters.join(' ')} prints`, async (t) => {
    const rendered = comparable(await render(join(copyWith(t), name)));
    t.strictSame(rendered, comparable(proxyManifests(parameters, { version }).objects));
  });

t.test('npm run manifests changes nothing: what is kept is what is printed, comments included', async (t) => {
  const copy = copyWith(t);
  const before = filesIn(copy);
  execFileSync('bash', [join(FOLDER, 'generate'), copy], { timeout: 60_000 });
  t.same(filesIn(copy), before);
  t.ok(before.has('base/proxy.yaml') && before.has('openshift/servicemonitor.yaml'));
});

t.test('another password is another Secret, so that the pods are replaced', async (t) => {
  const referred = async (folder: string) => {
    const objects = await render(join(folder, 'base'));
    const secret = objects.find(({ kind }) => kind === 'Secret')?.metadata.name ?? '';
    const deployment = objects.find(({ kind }) => kind === 'Deployment');
    t.match(JSON.stringify(deployment), `"secretRef":{"name":"${secret}"}`);
    return secret;
  };
  const copy = copyWith(t);
  const [first, same] = [await referred(copy), await referred(copy)];
  t.equal(first, same);
  t.not(await referred(copyWith(t, { password: 'another' })), first);
});

t.test('there is no password in the repository, and nobody adds one by mistake', async (t) => {
  t.notOk(
    filesIn(FOLDER)
      .get('base/credentials.env.example')
      ?.match(/^SPLICEWAY_PASSWORD=.+/m),
  );
  t.ok(readFileSync('.gitignore', 'utf8').split('\n').includes(`${FOLDER}/base/credentials.env`));
  t.notMatch(filesIn(FOLDER).get('base/proxy.yaml') ?? '', 'kind: Secret');
});

t.test('without credentials nothing is rendered', async (t) => {
  const copy = join(t.testdir({ copy: {} }), 'copy');
  cpSync(FOLDER, copy, { recursive: true, filter: (path) => !path.endsWith('credentials.env') });
  await t.rejects(render(join(copy, 'openshift')), { message: /credentials\.env/ });
});

/** The text of every file, by path. */
function filesIn(folder: string): ReadonlyMap<string, string> {
  return new Map(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => {
        const path = join(entry.parentPath, entry.name);
        return [path.slice(folder.length + 1), readFileSync(path, 'utf8')];
      }),
  );
}
