import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { receiveAll } from './fixtures/endings.js';
import { eventually } from './fixtures/process-state.js';
import { listenOn, readBytes } from './fixtures/sockets.js';

const ENGINES = JSON.stringify(new URL('../src/relay/engines.js', import.meta.url).href);

/** Opens a tunnel between two connections to a port, and says so. */
const TUNNEL = `
  const { connect } = await import('node:net');
  const { once } = await import('node:events');
  const { ENGINES } = await import(${ENGINES});
  const { engine, absent } = ENGINES.splice({ threads: 2, userTimeoutMs: 0 });
  if (engine === undefined) throw new Error(absent);
  async function tunnel(port) {
    const [client, upstream] = [0, 1].map(() => connect({ port, host: '127.0.0.1', allowHalfOpen: true }));
    await Promise.all([once(client, 'connect'), once(upstream, 'connect')]);
    const nobody = new AbortController().signal;
    return engine.relay(
      { client, upstream, early: Buffer.alloc(0), reply: Buffer.from('open') },
      { keepaliveMs: 0, idleTimeoutMs: 0, halfCloseTimeoutMs: 0 },
      nobody,
    );
  }
`;

/** Runs a module in a process of its own. */
function run(script: string) {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    env: { ...process.env, NODE_OPTIONS: '' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => void child.kill('SIGKILL'));
  return { child, exited: once(child, 'exit') as Promise<[number | null, string | null]> };
}

function threadsOf(pid: number | undefined): number {
  return Number(/^Threads:\s+([0-9]+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]);
}

t.test('a process whose tunnels have ended ends by itself', async (t) => {
  const peer = await listenOn(t);
  const { exited } = run(`${TUNNEL} const { end } = await tunnel(${peer.port}); await end;`);
  const [one, other] = [await peer.next(), await peer.next()];
  one.end();
  other.end();
  t.same(await exited, [0, null]);
});

for (const [way, signal, ending] of [
  ['process.exit', 'SIGUSR2', [7, null]],
  ['being killed', 'SIGKILL', [null, 'SIGKILL']],
] as const) {
  t.test(`a process with a tunnel stays, and ${way} resets it: nobody reads an end of file`, async (t) => {
    const peer = await listenOn(t);
    const { exited, child } = run(
      `${TUNNEL} await tunnel(${peer.port}); process.once('SIGUSR2', () => process.exit(7)); process.stdout.write('x');`,
    );
    const [one, other] = [await peer.next(), await peer.next()];
    await once(child.stdout, 'data');
    // Nothing but the tunnel keeps it: a signal listener does not.
    one.write('still there?');
    // The client's connection was begun first.
    t.equal((await readBytes(other, 12)).toString(), 'still there?');
    const seen = Promise.all([receiveAll(one), receiveAll(other)]);
    child.kill(signal);
    t.same(await exited, ending);
    t.same(
      (await seen).map(({ end }) => end),
      ['reset', 'reset'],
    );
  });
}

t.test('a worker that is terminated takes its threads and tunnels along, and nothing else', async (t) => {
  const peer = await listenOn(t);
  const worker = `
    import { parentPort } from 'node:worker_threads';
    ${TUNNEL}
    await tunnel(${peer.port});
    parentPort.on('message', () => {});
    parentPort.postMessage('open');
  `;
  const { exited, child } = run(`
    import { Worker } from 'node:worker_threads';
    import { once } from 'node:events';
    const script = ${JSON.stringify(worker)};
    for (let round = 0; round < 3; round += 1) {
      const worker = new Worker(script, { eval: true });
      await once(worker, 'message');
      await worker.terminate();
    }
    process.stdout.write('terminated');
    setInterval(() => {}, 1000);
  `);
  const peers = [];
  for (let i = 0; i < 6; i += 1) peers.push(await peer.next());
  await once(child.stdout, 'data');
  for (const connection of peers) t.equal((await receiveAll(connection)).end, 'reset');
  // Node's own: the main thread, the workers of V8 and libuv, the inspector's signal thread.
  const left = await eventually(
    () => threadsOf(child.pid),
    (threads) => threads <= 12,
  );
  t.comment(`${left} threads are left`);
  child.kill('SIGTERM');
  t.same(await exited, [null, 'SIGTERM']);
});
