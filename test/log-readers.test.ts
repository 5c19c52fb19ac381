import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { eventually } from './fixtures/process-state.js';
import { CLI, PASSWORD, USER } from './fixtures/proxy.js';
import { connectHead, connectRaw, listenOn, readBytes, readHead } from './fixtures/sockets.js';

/** An address of this file's own, so that a port of it can be known before somebody listens. */
const HOST = '127.0.0.9';

async function freePort(t: Test): Promise<number> {
  const { port, server } = await listenOn(t, HOST);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const ENV = { ...process.env, NODE_OPTIONS: '', SPLICEWAY_USERNAME: USER, SPLICEWAY_PASSWORD: PASSWORD };

/** The admin listener is at the same port of the address behind {@link HOST}. */
const ADMIN_HOST = '127.0.0.10';

function argvFor(port: number, flags: readonly string[] = []): string[] {
  const own = [
    '--listen',
    `${HOST}:${port}`,
    '--admin',
    `${ADMIN_HOST}:${port}`,
    '--drain-window',
    '0s',
    '--allow',
    '127.0.0.0/8:*',
  ];
  return [CLI, 'serve', ...own, ...flags];
}

/** `spliceway serve` on a terminal: what script(1) passes on is all that was written to it. */
function onTerminal(t: Test, port: number, flags: readonly string[] = []): ChildProcess {
  const command = ['exec', process.execPath, ...argvFor(port, flags)].map((word) => `'${word}'`).join(' ');
  const child = spawn(
    'script',
    ['--quiet', '--return', '--command', command.replace("'exec'", 'exec'), '/dev/null'],
    {
      env: { ...ENV, SHELL: '/bin/sh' },
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
  t.teardown(() => void child.kill('SIGKILL'));
  return child;
}

function childrenOf({ pid }: ChildProcess): readonly number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
}

const listening = (port: number) =>
  eventually(
    () => execFileSync('ss', ['-Htln', `src ${HOST}:${port}`], { encoding: 'utf8' }),
    (lines) => lines !== '',
  );

async function until(stream: Readable, pattern: RegExp): Promise<string> {
  let text = '';
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    text += String(chunk);
    if (pattern.test(text)) return text;
  }
  throw new Error(`it ended behind ${text}`);
}

t.test('on a terminal the log is pretty and in colour, unless --log-format says json', async (t) => {
  for (const [flags, expected] of [
    [[], /\u001b\[32mINFO\u001b\[39m: .*listening/],
    [['--log-format', 'json'], /^\{"level":"info","time":"[^"]+","event":"listening"/m],
  ] as const) {
    const port = await freePort(t);
    const child = onTerminal(t, port, flags);
    if (child.stdout === null) throw new Error('no standard output');
    t.match(await until(child.stdout, expected), `listening      ${HOST}:${port}`, 'the banner is there too');
    child.kill('SIGKILL');
  }
});

t.test('pretty without a terminal has no colours', async (t) => {
  const child = spawn(process.execPath, argvFor(await freePort(t), ['--log-format', 'pretty']), {
    env: ENV,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  t.teardown(() => void child.kill('SIGKILL'));
  const text = await until(child.stderr, /\n/);
  t.match(text, /^\[\d\d:\d\d:\d\d\.\d{3}\] INFO: listening \{"event":"listening",/);
  t.notMatch(text, '\u001b');
});

t.test('--log-level leaves out what is below it, and silent everything', async (t) => {
  for (const [level, expected] of [
    ['warn', ['warn']],
    ['error', []],
    ['silent', []],
  ] as const) {
    const port = await freePort(t);
    const child = spawn(process.execPath, argvFor(port, ['--log-level', level]), {
      env: ENV,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    t.teardown(() => void child.kill('SIGKILL'));
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    await listening(port);
    for (const [authority, status] of [
      ['127.0.0.79:1', 502],
      ['169.254.169.254:443', 403],
    ] as const) {
      const client = await connectRaw(t, { host: HOST, port });
      client.write(connectHead(authority));
      t.equal((await readHead(client)).status, status);
    }
    child.kill('SIGTERM');
    await once(child, 'close');
    t.equal(child.exitCode, 0);
    const levels = stderr.split('\n').filter(Boolean);
    t.same(
      levels.map((line) => (JSON.parse(line) as { level: string }).level),
      expected,
      level,
    );
  }
});

/** Starts it with this as its standard error. */
function into(t: Test, port: number, stderr: 'pipe' | number): ChildProcess {
  const child = spawn(process.execPath, argvFor(port), { env: ENV, stdio: ['ignore', 'ignore', stderr] });
  t.teardown(() => {
    child.kill('SIGKILL');
    if (typeof stderr === 'number') closeSync(stderr);
  });
  return child;
}

/** Ways to start it with a log that nobody reads, or that cannot be written. */
const UNREAD: Readonly<Record<string, (t: Test, port: number) => ChildProcess>> = {
  'a socket': (t, port) => into(t, port, 'pipe'),
  'a pipe'(t, port) {
    const fifo = `${t.testdir({})}/fifo`;
    execFileSync('mkfifo', [fifo]);
    const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    t.teardown(() => closeSync(reader));
    return into(t, port, openSync(fifo, constants.O_WRONLY));
  },
  // Nobody reads what script(1) passes on, so that it stops reading the terminal.
  'a terminal': onTerminal,
  'a closed pipe'(t, port) {
    const child = into(t, port, 'pipe');
    child.stderr?.destroy();
    return child;
  },
  'a full disk': (t, port) => into(t, port, openSync('/dev/full', 'w')),
};

for (const [kind, start] of Object.entries(UNREAD)) {
  t.test(`a log that nobody reads, ${kind}, stalls neither tunnels nor the end`, async (t) => {
    const port = await freePort(t);
    const child = start(t, port);
    await listening(port);
    const peer = await listenOn(t);

    const open = await connectRaw(t, { host: HOST, port });
    open.write(connectHead(`127.0.0.1:${peer.port}`));
    t.equal((await readHead(open)).status, 200);
    const upstream = await peer.next();
    // More records than any pipe holds.
    for (let round = 0; round < 60; round += 1) {
      const refused = Array.from({ length: 20 }, async () => {
        const client = await connectRaw(t, { host: HOST, port });
        client.write(connectHead('169.254.169.254:443'));
        const { status } = await readHead(client);
        client.destroy();
        return status;
      });
      t.same(new Set(await Promise.all(refused)), new Set([403]));
    }
    open.write('through');
    t.equal((await readBytes(upstream, 7)).toString(), 'through');
    open.resetAndDestroy();

    const metrics = await (await fetch(`http://${ADMIN_HOST}:${port}/metrics`)).text();
    t.match(metrics, /^spliceway_uncaught_errors_total 0$/m);

    const [own = child.pid] = childrenOf(child);
    const exited = once(child, 'exit') as Promise<[number | null]>;
    const startedMs = performance.now();
    process.kill(Number(own), 'SIGTERM');
    // script(1) itself only ends when it can write.
    if (own === child.pid) {
      t.same(await exited, [0, null]);
    } else {
      await eventually(
        () => readFileSync(`/proc/${own}/stat`, 'utf8').replace(/^.*\) /, '')[0],
        (state) => state === 'Z',
      );
    }
    t.ok(performance.now() - startedMs < 60_000);
  });
}

t.test('everything is written before the process ends', async (t) => {
  const port = await freePort(t);
  const path = `${t.testdir({})}/log`;
  const child = into(t, port, openSync(path, 'w'));
  await listening(port);
  child.kill('SIGTERM');
  t.same(await once(child, 'exit'), [0, null]);
  const lines = readFileSync(path, 'utf8').trim().split('\n');
  t.same(
    lines.map((line) => (JSON.parse(line) as { event: string }).event),
    ['listening', 'draining', 'stopped'],
  );
});

t.test(
  'what is held back for a log that nobody reads is bounded, counted beyond, and given up at the end',
  async (t) => {
    const script = `
    import { createLog } from ${JSON.stringify(new URL('../src/observe/log.js', import.meta.url).href)};
    let dropped = 0;
    const log = createLog({ logLevel: 'info', logFormat: 'json', onDropped: (records) => { dropped += records; } });
    const before = process.memoryUsage().rss;
    for (let count = 0; count < 100_000; count += 1) log.logger.info({ text: 'x'.repeat(1000) });
    const grown = process.memoryUsage().rss - before;
    const startedMs = performance.now();
    await log.close();
    process.stdout.write(JSON.stringify({ dropped, grown, closeMs: performance.now() - startedMs }));
    process.exit();
  `;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
      env: ENV,
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: fileURLToPath(new URL('.', import.meta.url)),
    });
    t.teardown(() => void child.kill('SIGKILL'));
    const result = JSON.parse(await until(child.stdout, /\}$/)) as Record<string, number>;
    t.comment(JSON.stringify(result));
    // 16 MiB of about 110 MB are kept.
    t.ok(Number(result.dropped) > 75_000 && Number(result.dropped) < 90_000, `${result.dropped} dropped`);
    t.ok(Number(result.grown) < 100 * 1024 * 1024, `grown by ${result.grown}`);
    t.ok(Number(result.closeMs) < 30_000, `${result.closeMs} ms`);
  },
);
