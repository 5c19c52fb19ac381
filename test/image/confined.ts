import { readFileSync } from 'node:fs';
import { readFile, readlink } from 'node:fs/promises';
import t from 'tap';
import { CONTAINER_UID, podman, podmanSays, SERVE, startContainer } from '../fixtures/container.js';
import { listenOn, openTunnel, readBytes } from '../fixtures/sockets.js';

const manifest = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
  readonly dependencies: Readonly<Record<string, string>>;
};

t.test('it runs as anybody, without privileges, with nothing to write on, and splices', async (t) => {
  const peer = await listenOn(t);
  const argv = [...SERVE, '--allow', `127.0.0.0/8:${peer.port}`];
  const container = await startContainer(t, { argv, env: { SPLICEWAY_ADMIN: '127.0.0.1:1' } });
  const pid = await container.pid();
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1];
  t.equal(field('Uid'), `${CONTAINER_UID}\t${CONTAINER_UID}\t${CONTAINER_UID}\t${CONTAINER_UID}`);
  t.equal(field('Gid'), '0\t0\t0\t0');
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
    t.equal(field(set), '0000000000000000', `${set}: no capability`);
  t.equal(field('NoNewPrivs'), '1');

  t.equal(field('NSpid')?.split('\t').at(-1), '1', 'it is process 1');
  t.match((await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0'), [
    'node',
    /\/opt\/spliceway\/build\/src\/cli\.js$/,
    'serve',
  ]);
  t.match(await readlink(`/proc/${pid}/exe`), /\/node$/, 'and no shell');

  const paths = ['/', '/tmp', '/run', '/var/tmp', '/opt/spliceway', '/opt/spliceway/build/src'];
  const script = `for (const path of ${JSON.stringify(paths)})
    try { fs.writeFileSync(path + '/written', ''); console.log(path); } catch ({ code }) { console.log(code); }`;
  const written = await container.exec('node', '--eval', script);
  t.equal(written.stdout, 'EROFS\n'.repeat(paths.length), 'it can write nowhere');

  const load = Object.keys(manifest.dependencies).map((name) => `await import('${name}');`);
  const node = ['node', '--input-type=module', '--eval', load.join('')];
  t.same(
    await podman('exec', '--workdir', '/opt/spliceway', container.name, ...node),
    { code: 0, stdout: '', stderr: '' },
    'all of its packages load',
  );

  t.equal(field('Seccomp'), '2', 'a seccomp filter is in force');
  const [{ OCIConfigPath }] = JSON.parse(await podmanSays('inspect', container.name)) as [
    { readonly OCIConfigPath: string },
  ];
  const { linux } = JSON.parse(await readFile(OCIConfigPath, 'utf8')) as {
    readonly linux: {
      readonly seccomp: { readonly defaultAction: string; readonly syscalls: readonly unknown[] };
    };
  };
  t.equal(linux.seccomp.defaultAction, 'SCMP_ACT_ERRNO', 'which refuses what it does not name');
  t.ok(linux.seccomp.syscalls.length > 0);

  const { client, upstream } = await openTunnel(t, container, peer);
  client.write('a'.repeat(500_000));
  t.equal((await readBytes(upstream, 500_000)).length, 500_000);
  const metrics = (await container.page('/metrics')).body;
  t.match(metrics, /^spliceway_relay_engine_info\{engine="splice",state="active",why=""\} 1$/m);
  const moved = /^spliceway_relay_path_bytes_total\{path="splice"\} (\d+)$/m.exec(metrics)?.[1];
  t.ok(Number(moved) > 0, `${moved} bytes went from kernel to kernel`);
  const memory = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8');
  t.comment(
    `memory: ${[...memory.matchAll(/^(Rss|Pss): +(\d+ kB)/gm)].map(([, name, size]) => `${name} ${size}`).join(', ')}`,
  );

  const health = await podman('healthcheck', 'run', container.name);
  t.match(health, { code: 1, stdout: 'unhealthy' }, 'a health check that asks elsewhere fails');
});
