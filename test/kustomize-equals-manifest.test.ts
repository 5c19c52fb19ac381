import { execFile, spawnSync } from 'node:child_process';
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

/** Nothing of this is so by default. */
const INVENTORY = `namespace: tunnels
name: shop
client: [198.51.100.0/24]
service: NodePort
drain-timeout: 90m
password: ${MANIFEST_PASSWORD}
source-namespace: [shop]
target-apps: apps.target.example
target-api: api.target.example:6443
target-router: [203.0.113.10/32]
`;

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

/** Writes the copy anew; what it said. */
function generate(copy: string, words: readonly string[] = []) {
  return spawnSync('bash', [join(FOLDER, 'generate'), ...words, copy], { encoding: 'utf8', timeout: 60_000 });
}

/** A copy of the folder that was written anew for this inventory, and the file of it; the one before is gone. */
function copyFor(t: Test, inventory: string): { readonly copy: string; readonly file: string } {
  const copy = copyWith(t);
  const file = join(copy, '../migration.yaml');
  // Whoever lets others read a password is warned.
  writeFileSync(file, inventory, { mode: 0o600 });
  const { status, stderr } = generate(copy, ['--inventory', file]);
  t.same({ status, stderr }, { status: 0, stderr: '' });
  return { copy, file };
}

/** Without what kustomize and manifest do differently: the Secret's digest in names here, in an annotation there. */
function comparable(objects: readonly PrintedObject[]): readonly unknown[] {
  return objects
    .map((object) => {
      const text = JSON.stringify(object).replace(/"name":"([a-z]+)-[a-z0-9]{10}"/g, '"name":"$1"');
      const plain = JSON.parse(text, (key, value) =>
        key === 'checksum/credential' ? undefined : value,
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

t.test('both do so with an inventory, whose namespace, name and allow list are in them', async (t) => {
  const { copy, file } = copyFor(t, INVENTORY);
  for (const [name, parameters] of Object.entries(KUSTOMIZATIONS)) {
    const objects = await render(join(copy, name));
    const printed = proxyManifests([...parameters, '--inventory', file], { version }).objects;
    t.strictSame(comparable(objects), comparable(printed), name);
    t.match(
      objects.find(({ kind }) => kind === 'ConfigMap'),
      {
        metadata: { name: 'shop', namespace: 'tunnels' },
        data: { SPLICEWAY_ALLOW: 'dvm-*.apps.target.example:443 api.target.example:6443' },
      },
    );
  }
});

t.test(
  'the image is that of the inventory, what it leaves out is left out, a firewall is there once',
  async (t) => {
    const image = 'registry.example:5000/tunnels/spliceway:1';
    const more = `image: ${image}\nwithout: [ServiceMonitor, Namespace]\negress-firewall: new\n`;
    const { copy } = copyFor(t, INVENTORY + more);
    for (const [name, firewalls] of Object.entries({ base: 0, openshift: 1 })) {
      const objects = await render(join(copy, name));
      t.notOk(objects.some(({ kind }) => kind === 'ServiceMonitor' || kind === 'Namespace'));
      t.equal(objects.filter(({ kind }) => kind === 'EgressFirewall').length, firewalls, name);
      t.match(JSON.stringify(objects), `"image":"${image}"`);
    }
  },
);

t.test('other options are another Deployment, so that the pods are replaced', async (t) => {
  const templates = [];
  for (const inventory of [INVENTORY, INVENTORY.replace('api.target', 'api.other')]) {
    const objects = await render(join(copyFor(t, inventory).copy, 'base'));
    const deployment = objects.find(({ kind }) => kind === 'Deployment');
    templates.push((deployment?.spec as { readonly template: unknown } | undefined)?.template);
  }
  t.strictNotSame(templates[0], templates[1]);
});

t.test('a mistake in the inventory is told, and nothing is written', async (t) => {
  const copy = copyWith(t);
  const before = filesIn(copy);
  const file = join(copy, '../migration.yaml');
  writeFileSync(file, 'namespace: tunnels\ntarget-app: a\n');
  const { status, stderr } = generate(copy, ['--inventory', file]);
  t.equal(status, 64);
  t.match(stderr, /"target-app" is not an option; did you mean target-apps\?/);
  t.same(filesIn(copy), before);
});

t.test('npm run manifests changes nothing: what is kept is what is printed, comments included', async (t) => {
  const { copy } = copyFor(t, INVENTORY);
  t.equal(generate(copy).status, 0, 'and an inventory leaves nothing behind');
  t.same(filesIn(copy), filesIn(copyWith(t)));
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
