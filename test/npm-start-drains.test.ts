import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { PASSWORD, USER } from './fixtures/proxy.js';
import { connectHead, connectRaw, listenOn, readBytes, readHead } from './fixtures/sockets.js';

/** Whom a stop is sent to. */
const STOPS = {
  'npm alone': (npm: number) => process.kill(npm, 'SIGTERM'),
  // As service managers do; npm passes its signal on, so that the proxy gets two.
  'the whole process group': (npm: number) => process.kill(-npm, 'SIGTERM'),
} as const;

for (const [whom, stop] of Object.entries(STOPS)) {
  t.test(`SIGTERM to ${whom} makes the proxy of npm start drain, and cuts no tunnel`, async (t) => {
    const peer = await listenOn(t);
    const { npm, lines } = startNpm(t, ['--allow', `127.0.0.0/8:${peer.port}`]);
    const events: string[] = [];
    let finish = () => {};
    for await (const line of lines) {
      const { event, listeners, cut } = line.startsWith('{') ? JSON.parse(line) : { event: undefined };
      if (event === 'listening') {
        const [, port] = /:([0-9]+)$/.exec(listeners[0]) ?? [];
        const client = await connectRaw(t, { host: '127.0.0.1', port: Number(port) });
        client.write(connectHead(`127.0.0.1:${peer.port}`));
        t.equal((await readHead(client)).status, 200);
        const upstream = await peer.next();
        finish = () => {
          client.end();
          upstream.resume();
          upstream.end();
        };
        stop(npm);
        client.write('still open?');
        t.equal((await readBytes(upstream, 11)).toString(), 'still open?');
      }
      if (event === 'draining') finish();
      if (event === 'stopped') t.equal(cut, 0);
      if (event !== undefined) events.push(event);
    }
    t.same(events, ['listening', 'decision', 'draining', 'close', 'stopped']);
  });
}

/** `npm start` as the leader of a process group, and the lines of its log; nothing of it outlives the test. */
function startNpm(
  t: Test,
  options: readonly string[],
): { readonly npm: number; readonly lines: AsyncIterable<string> } {
  const common = [
    '--listen',
    '127.0.0.1:0',
    '--admin',
    'off',
    '--drain-window',
    '0s',
    '--log-format',
    'json',
  ];
  const npm = spawn('npm', ['start', '--silent', '--', ...common, ...options], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    env: { ...process.env, NODE_OPTIONS: '', SPLICEWAY_USERNAME: USER, SPLICEWAY_PASSWORD: PASSWORD },
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
  const { pid } = npm;
  if (pid === undefined) throw new Error('npm did not start');
  const exited = once(npm, 'exit');
  t.teardown(async () => {
    if (npm.exitCode === null && npm.signalCode === null) process.kill(-pid, 'SIGKILL');
    await exited;
  });
  return { npm: pid, lines: createInterface({ input: npm.stderr }) };
}
