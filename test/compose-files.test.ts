import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import { parseDocument } from 'yaml';

import {
  routerConfiguration,
  rsyncDaemonConfiguration,
  stunnelClientConfiguration,
  stunnelServerConfiguration,
} from '../src/commands/mtc/configurations.js';
import { PROXY_PORT } from '../src/commands/rehearsal/parties.js';
import { MTC_RSYNC_OPTIONS } from '../src/commands/rehearsal/transfer.js';
import {
  copiedTo,
  DOCKER,
  inARow,
  mountsOf,
  neighboursOf,
  readComposeFile,
  serviceOf,
} from './fixtures/compose-file.js';
import { all, list, map, object, oneOf, text } from './fixtures/shape.js';

const file = readComposeFile();
const services = Object.entries(file.services);
const read = (name: string) => readFileSync(join(DOCKER, 'compose', name), 'utf8');
const SCRIPTS = readdirSync(join(DOCKER, 'compose')).filter((name) => name.endsWith('.sh'));

const duration = all(text, (value) => /^\d+(?:ms|s|m)$/.test(String(value)));

/** What of the Compose specification the file may use; neither `ports` nor `privileged` nor `network_mode` is in it. */
const SERVICE = object({
  build: oneOf(text, object({ context: text, dockerfile: text })),
  cap_drop: list(text),
  command: list(text),
  depends_on: map(object({ condition: (value) => value === 'service_healthy' })),
  environment: map((value) => typeof value === 'string' || typeof value === 'number'),
  healthcheck: object({
    test: all(list(text), (value) => Array.isArray(value) && value[0] === 'CMD'),
    interval: duration,
    timeout: duration,
    retries: Number.isInteger,
  }),
  networks: list(text),
  read_only: (value) => value === true,
  security_opt: list(text),
  stop_grace_period: duration,
  sysctls: list(text),
  tmpfs: list(text),
  user: text,
  volumes: list(text),
});

t.test('it is YAML, and of the shape that the Compose specification gives it', async (t) => {
  const document = parseDocument(readFileSync(join(DOCKER, 'compose.yaml'), 'utf8'), { merge: true });
  t.same([...document.errors, ...document.warnings], []);
  t.same(Object.keys(file).sort(), ['name', 'networks', 'services', 'volumes', 'x-end', 'x-restricted']);
  t.match(file.name, /^[a-z0-9][a-z0-9_-]*$/);
  for (const [name, service] of services) t.same(SERVICE(service), [], name);
  t.same(map(object({ internal: (value) => value === true }))(file.networks), []);
  t.same(map((value) => value === null)(file.volumes), []);
});

t.test('source and target share no network, and the proxy is in both', async (t) => {
  t.same(inARow(file), ['source', 'proxy', 'target']);
  t.same(neighboursOf(file, 'source'), ['proxy']);
  t.same(neighboursOf(file, 'target'), ['proxy']);
  const used = services.flatMap(([, { networks }]) => networks);
  t.same([...new Set(used)].sort(), Object.keys(file.networks).sort());
});

t.test('the source may only read what is not its own', async (t) => {
  for (const [name, service] of services) {
    for (const { volume, path } of mountsOf(service)) {
      t.ok(volume in file.volumes, `${name}: ${volume}`);
      t.match(path, /^\/srv\/[a-z]+$/, `${name}: ${path}`);
    }
  }
  const source = mountsOf(serviceOf(file, 'source'));
  const shared = mountsOf(serviceOf(file, 'target')).map(({ volume }) => volume);
  const both = source.filter(({ volume }) => shared.includes(volume));
  t.same(
    both.map(({ volume, mode }) => [volume, mode]),
    [
      ['secrets', 'ro'],
      ['target-volume', 'ro'],
    ],
  );
});

t.test('no service has rights, and who is waited for has a health check', async (t) => {
  for (const [name, service] of services) {
    t.equal(service.read_only, true, name);
    t.same(service.cap_drop, ['ALL'], name);
    t.same(service.security_opt, ['no-new-privileges:true'], name);
    t.match(service.user, /^[1-9]\d*:0$/, name);
    for (const other of Object.keys(service.depends_on ?? {})) {
      t.ok(serviceOf(file, other).healthcheck, `${name} waits for ${other}`);
    }
  }
  t.same(Object.keys(serviceOf(file, 'source').depends_on ?? {}).sort(), ['proxy', 'target']);
});

t.test('every file that is named is there, and every file that is there is explained', async (t) => {
  for (const [name, { build, command = [], healthcheck }] of services) {
    const { context, dockerfile } =
      typeof build === 'string' ? { context: build, dockerfile: 'Dockerfile' } : build;
    t.ok(existsSync(join(DOCKER, context, dockerfile)), `${name}: ${context}/${dockerfile}`);
    for (const word of [...command, ...(healthcheck?.test ?? [])].filter((word) => word.startsWith('/'))) {
      t.ok(word.startsWith(`${copiedTo()}/`), `${name}: ${word}`);
      t.ok(SCRIPTS.includes(word.slice(copiedTo().length + 1)), `${name}: ${word}`);
    }
  }
  const comment = readFileSync(join(DOCKER, 'compose.yaml'), 'utf8').split('\n\n', 1)[0] ?? '';
  const explained = [...comment.matchAll(/^# {3}(\S+) {2,}\S/gm)].map(([, name]) => name);
  t.same(explained.sort(), readdirSync(join(DOCKER, 'compose')).sort());
  t.match(
    read('Dockerfile'),
    /^ARG DEBIAN_IMAGE=\S+:[a-z]+-slim$/m,
    'a base with a tag that says what it is',
  );
});

t.test("MTC's configuration, with the names and ports of this file", async (t) => {
  const environment = serviceOf(file, 'proxy').environment ?? {};
  const pair = { certificateFile: '/srv/secrets/tls.crt', keyFile: '/srv/secrets/tls.key' };
  const client = stunnelClientConfiguration({
    ...pair,
    ...{ generation: '1.6', accept: '6443', proxy: `proxy:${PROXY_PORT}`, target: 'target:443' },
    username: String(environment.SPLICEWAY_USERNAME),
    password: String(environment.SPLICEWAY_PASSWORD),
  });
  t.equal(read('stunnel-client.conf'), client);
  const server = stunnelServerConfiguration({ ...pair, generation: '1.6', accept: '6443', connect: '2222' });
  t.equal(read('stunnel-server.conf'), server);
  const daemon = { module: 'volume', directory: '/srv/volume', secretsFile: '/srv/secrets/rsyncd.secrets' };
  t.equal(read('rsyncd.conf'), rsyncDaemonConfiguration({ ...daemon, asRoot: false }));
  const router = { address: '*', port: 443, routeHost: 'target', backend: '127.0.0.1:6443' };
  t.equal(read('haproxy.cfg'), routerConfiguration(router));
  t.equal(environment.SPLICEWAY_ALLOW, 'target:443');
  const words = read('source.sh').replaceAll('\\\n', ' ').replace(/ +/g, ' ');
  t.match(words, ` rsync ${MTC_RSYNC_OPTIONS.join(' ')} `);
  t.match(read('target.sh'), ' --port=2222 ');
});

t.test('the scripts are scripts, and wait for nothing by the clock', async (t) => {
  t.same(SCRIPTS, ['listening.sh', 'source.sh', 'target.sh']);
  for (const name of SCRIPTS) {
    const { status, stderr } = spawnSync('bash', ['-n', join(DOCKER, 'compose', name)], { encoding: 'utf8' });
    t.same({ status, stderr }, { status: 0, stderr: '' }, name);
    t.match(read(name), /^#!\/usr\/bin\/env bash\n# [\s\S]*?\nset -euo pipefail\n/, name);
    t.notMatch(read(name), /\bsleep\b/, name);
  }
});
