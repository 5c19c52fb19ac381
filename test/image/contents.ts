import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { BASE_IMAGE, BUILD_SECRET, IMAGE, podmanSays, REVISION } from '../fixtures/container.js';

const REPOSITORY = fileURLToPath(new URL('../../..', import.meta.url));
const MOST_BYTES = 25_000_000;

interface Manifest {
  readonly version: string;
  readonly dependencies: Readonly<Record<string, string>>;
}

interface Image {
  readonly Size: number;
  readonly Labels: Readonly<Record<string, string>>;
  readonly Config: Readonly<Record<string, unknown>>;
}

const manifest = JSON.parse(readFileSync(join(REPOSITORY, 'package.json'), 'utf8')) as Manifest;
const root = await podmanSays('image', 'mount', IMAGE);
const home = join(root, 'opt/spliceway');
const files = filesOf(home);

t.test('only what runs is in it', async (t) => {
  t.same(readdirSync(home).sort(), ['LICENSE', 'bin', 'build', 'node_modules', 'package.json']);
  t.same(readdirSync(join(home, 'build')).sort(), ['native', 'src']);
  t.same(readdirSync(join(home, 'build/native')), ['relay.node']);
  const compiled = filesOf(join(REPOSITORY, 'src'))
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts'))
    .map((file) => file.replace(/\.ts$/, '.js'));
  t.same(filesOf(join(home, 'build/src')), compiled, 'each source as JavaScript, and nothing beside it');
  t.same(
    files.filter((file) => /(?:^|\/)node_modules\/(?:@[^/]+\/)?[^/@]+\/tests?\//.test(file)),
    [],
    'no tests',
  );
  t.same(
    files.filter((file) => /\.(?:map|d\.[cm]?ts)$|(?:^|\/)\.npmrc$|(?:^|\/)\.env/.test(file)),
    [],
  );
  const before = new Set(filesOf(await podmanSays('image', 'mount', BASE_IMAGE)));
  t.same(
    filesOf(root).filter((file) => !before.has(file) && !file.startsWith('opt/spliceway/')),
    [],
    'and nothing elsewhere that the base does not have: no compiler, no cache, no npmrc',
  );
});

t.test(
  'its packages are those of the lock file, in these versions, without those of development',
  async (t) => {
    const { packages } = JSON.parse(readFileSync(join(REPOSITORY, 'package-lock.json'), 'utf8')) as {
      readonly packages: Readonly<
        Record<string, { readonly version: string; readonly dev?: true; readonly optional?: true }>
      >;
    };
    const locked = Object.entries(packages).filter(([path, { dev }]) => path !== '' && !dev);
    const installed = files
      .filter((file) => /(?:^|\/)node_modules\/(?:@[^/]+\/)?[^@/]+\/package\.json$/.test(file))
      .map((file) => {
        const { version } = JSON.parse(readFileSync(join(home, file), 'utf8')) as Manifest;
        return `${file.slice(0, -'/package.json'.length)} ${version}`;
      });
    const named = ([path, { version }]: (typeof locked)[number]) => `${path} ${version}`;
    t.same(
      installed.filter((each) => !locked.map(named).includes(each)),
      [],
      'nothing else',
    );
    const needed = locked.filter(([, { optional }]) => !optional).map(named);
    t.ok(needed.length > 20);
    t.same(
      needed.filter((each) => !installed.includes(each)),
      [],
      'nothing is missing',
    );
  },
);

t.test('everybody may read it, and nobody but root may write to it', async (t) => {
  const odd = [
    home,
    ...readdirSync(home, { recursive: true, encoding: 'utf8' }).map((name) => join(home, name)),
  ]
    .map((path) => ({ path: relative(root, path), ...statSync(path) }))
    .filter(
      ({ mode, uid, gid }) => uid !== 0 || gid !== 0 || (mode & 0o7022) !== 0 || (mode & 0o044) !== 0o044,
    )
    .map(({ path, mode }) => `${path} ${mode.toString(8)}`);
  t.same(odd, []);
});

t.test('the secret of its build is nowhere in it', async (t) => {
  t.match(BUILD_SECRET, /^[0-9a-z]{16,}$/);
  const told = await podmanSays('image', 'inspect', IMAGE);
  t.match(told, 'org.opencontainers.image.title');
  t.notMatch(told, BUILD_SECRET);
  t.notMatch(await podmanSays('history', '--no-trunc', IMAGE), BUILD_SECRET);
  const holding = filesOf(root).filter((file) => readFileSync(join(root, file)).includes(BUILD_SECRET));
  t.same(holding, []);
});

t.test('it adds at most 25 MB to its base', async (t) => {
  const [image, base] = await Promise.all([inspect(IMAGE), inspect(BASE_IMAGE)]);
  const added = image.Size - base.Size;
  t.comment(`${megabytes(added)} on top of a base of ${megabytes(base.Size)}`);
  const packages = new Map<string, number>();
  for (const file of files) {
    const name = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1] ?? 'spliceway itself';
    packages.set(name, (packages.get(name) ?? 0) + statSync(join(home, file)).size);
  }
  const largest = [...packages].sort(([, a], [, b]) => b - a).slice(0, 6);
  for (const [name, bytes] of largest) t.comment(`  ${megabytes(bytes)} ${name}`);
  t.ok(added > 1_000_000, 'what was measured is something');
  t.ok(added <= MOST_BYTES, `${megabytes(added)} of ${megabytes(MOST_BYTES)}`);
});

t.test('it says what it is and how it is run', async (t) => {
  const { Labels, Config } = await inspect(IMAGE);
  const label = (name: string) => Labels[`org.opencontainers.image.${name}`];
  t.equal(label('title'), 'spliceway');
  t.match(label('description'), /TCP tunnelling proxy/);
  t.equal(label('licenses'), 'Apache-2.0');
  t.equal(label('version'), manifest.version);
  t.equal(label('revision'), REVISION);
  t.equal(label('source'), 'https://git.example/spliceway');
  t.equal(label('base.name'), BASE_IMAGE);
  t.match(Config, {
    User: /^[1-9]\d*:0$/,
    Entrypoint: ['node', '/opt/spliceway/build/src/cli.js'],
    Cmd: ['serve'],
    StopSignal: 'SIGTERM',
    ExposedPorts: { '3128/tcp': {}, '9128/tcp': {} },
  });
  t.match(Config.Env, /(?:^|,)NODE_ENV=production(?:,|$)/);
});

/** The regular files below a directory, relative to it, in order. */
function filesOf(directory: string): readonly string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)))
    .sort();
}

async function inspect(image: string): Promise<Image> {
  const [first] = JSON.parse(await podmanSays('image', 'inspect', image)) as [Image];
  return first;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
