import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { podman, runContainer, startContainer } from '../fixtures/container.js';
import { connectHead, exchange, listenOn, openTunnel } from '../fixtures/sockets.js';

t.test('the environment alone is enough', async (t) => {
  const peer = await listenOn(t);
  const other = await listenOn(t);
  const variables = {
    SPLICEWAY_LISTEN: '127.0.0.1:0 [::1]:0',
    SPLICEWAY_ADMIN: '0.0.0.0:9128',
    SPLICEWAY_ALLOW: `127.0.0.0/8:${peer.port}`,
    SPLICEWAY_DRAIN_WINDOW: '0s',
  };
  const container = await startContainer(t, { argv: [], env: variables });
  const { client, upstream } = await openTunnel(t, container, peer);
  const refused = await exchange(t, container, connectHead(`127.0.0.1:${other.port}`));
  t.equal(refused.status, 403, 'its rules are those of the environment');
  t.match(container.log.find(({ event }) => event === 'listening')?.listeners, [
    /^127\.0\.0\.1:/,
    /^\[::1\]:/,
  ]);
  t.same(await podman('healthcheck', 'run', container.name), { code: 0, stdout: '', stderr: '' });
  t.same(await container.exec('spliceway', 'health'), { code: 0, stdout: 'live\n', stderr: '' });
  t.match(await container.exec('spliceway', '--version'), {
    code: 0,
    stdout: /^spliceway \d+\.\d+\.\d+\n$/,
    stderr: '',
  });
  for (const socket of [client, upstream, refused.socket]) socket.resume().end();
  t.equal(await container.end(), 0);
});

t.test('a ConfigMap as a directory and a Secret in the environment are enough', async (t) => {
  const peer = await listenOn(t);
  const directory = t.testdir({
    'spliceway.yaml': `listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\ndrain-window: 0s\nallow:\n  - 127.0.0.0/8:${peer.port}\n`,
  });
  await chmod(directory, 0o755);
  await chmod(join(directory, 'spliceway.yaml'), 0o644);
  const volume = ['--volume', `${directory}:/etc/spliceway:ro`];
  const where = { SPLICEWAY_CONFIG: '/etc/spliceway/spliceway.yaml' };
  const container = await startContainer(t, { argv: [], env: where, podman: volume });
  const { client, upstream } = await openTunnel(t, container, peer);
  for (const socket of [client, upstream]) socket.resume().end();
  t.equal(await container.end(), 0);
});

t.test('a mistake in the options is told in full, and without a stack trace', async (t) => {
  const { code, stdout, stderr } = await runContainer(['serve', '--lisen', '0.0.0.0:3128'], {
    SPLICEWAY_IDLE_TIMEOUT: 'long',
  });
  t.equal(code, 64);
  t.equal(stdout, '');
  t.equal(
    stderr,
    `spliceway: 2 problems with the options:
  --lisen is not an option; did you mean --listen?
  SPLICEWAY_IDLE_TIMEOUT "long" is not a duration: write it like 500ms, 30s, 5m, 1h30m, 2d or 0
see spliceway serve --help
`,
  );
});

t.test('it tells its help', async (t) => {
  t.match(await runContainer(['--help']), {
    code: 0,
    stdout: 'Usage: spliceway COMMAND [OPTIONS]',
    stderr: '',
  });
});
