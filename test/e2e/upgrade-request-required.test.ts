import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { createProxy } from 'proxy';
import { Server as ProxyChain } from 'proxy-chain';
import t, { type Test } from 'tap';

import { POD_PATH } from '../fixtures/api-server-resources.js';
import { upgrade } from '../fixtures/api-server-upgrade.js';
import { eventually } from '../fixtures/process-state.js';
import { AUTHORIZATION, startProxy } from '../fixtures/proxy.js';
import { type SpdyStream, speakSpdy } from '../fixtures/spdy.js';

/** Where Squid and tinyproxy listen, on their own ports: an address that no other test takes ports of. */
const HERE = '127.0.0.33';
const NAME = 'target.test';

/** Where a client finds a proxy. */
interface At {
  readonly host: string;
  readonly port: number;
}

t.test(
  'an exec through spliceway becomes SPDY; other proxies lead to "Upgrade request required"',
  async (t) => {
    const { port, seen } = await startOrigin(t);
    const exec = `http://${NAME}:${port}${POD_PATH}/exec?command=echo&command=it+works&stdout=true`;
    const directly = await execute({ host: NAME, port }, exec);
    t.match(directly, { status: 101, text: 'it works\n' }, 'without a proxy');

    const spliceway = await startProxy(t, ['--allow', `127.0.0.0/8:${port}`]);
    t.match(await execute(spliceway, exec), { status: 101, text: 'it works\n' }, 'through spliceway');
    t.match(seen.at(-1)?.headers, { connection: 'Upgrade', upgrade: 'SPDY/3.1' });
    t.match(await spliceway.until(({ event }) => event === 'close'), {
      ...{ method: 'POST', upgrade: 'SPDY/3.1', status: 101, engine: 'splice', user: 'migration' },
      target: `${NAME}:${port}`,
    });

    for (const [name, start] of Object.entries(PEERS)) {
      await t.test(`through ${name}`, async (t) => {
        const { status, text } = await execute(await start(t), exec);
        t.equal(status, 400);
        t.match(JSON.parse(text), { kind: 'Status', message: 'Upgrade request required', code: 400 });
        t.match(seen.at(-1), { method: 'POST', url: /\/exec\?command=echo/ }, 'which the origin said');
        t.notOk('upgrade' in (seen.at(-1)?.headers ?? {}), 'for it did not see the offer');
        const program = /^(?:Squid|tinyproxy)/.exec(name)?.[0];
        if (program !== undefined) t.match(seen.at(-1)?.headers.via, new RegExp(program, 'i'));
      });
    }
  },
);

/** The proxies that people use, as they are when nobody configures them. */
const PEERS: Readonly<Record<string, (t: Test) => Promise<At>>> = {
  "Squid with Debian's configuration": startSquid,
  "tinyproxy with Debian's configuration": startTinyproxy,
  'npm proxy-chain': async (t) => {
    const server = new ProxyChain({ host: '127.0.0.1', port: 0 });
    await server.listen();
    t.teardown(() => server.close(true));
    return { host: '127.0.0.1', port: server.port };
  },
  'npm proxy': async (t) => {
    const server = createProxy(createServer()).listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.teardown(() => server.close());
    return { host: '127.0.0.1', port: portOf(server) };
  },
};

/**
 * An API server on plain HTTP with the one pod of the fixtures, and what it was asked.
 *
 * Source of the refusal: k8s.io/apimachinery `pkg/util/proxy/upgradeaware.go`.
 */
async function startOrigin(
  t: Test,
): Promise<{ readonly port: number; readonly seen: readonly IncomingMessage[] }> {
  const seen: IncomingMessage[] = [];
  const sockets = new Set<Socket>();
  const directory = t.testdir({});
  const server = createServer((request, response) => {
    seen.push(request);
    const status = {
      status: 'Failure',
      message: 'Upgrade request required',
      reason: 'BadRequest',
      code: 400,
    };
    response.writeHead(400, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify({ kind: 'Status', apiVersion: 'v1', metadata: {}, ...status }));
  });
  server.on('upgrade', (request, socket, head) => {
    seen.push(request);
    socket.on('error', () => socket.destroy());
    upgrade(request, { socket, head }, directory);
  });
  server.on('connection', (socket: Socket) => void sockets.add(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { port: portOf(server), seen };
}

/** Asks for it as client-go does, and returns what the command wrote, or the body of another answer. */
async function execute(
  { host, port }: At,
  url: string,
): Promise<{ readonly status: number | undefined; readonly text: string }> {
  const request = httpRequest({
    ...{
      host,
      port,
      method: 'POST',
      path: host === NAME ? new URL(url).pathname + new URL(url).search : url,
    },
    agent: false,
    headers: {
      ...{ Host: new URL(url).host, 'User-Agent': 'kubectl/v1.32.0', 'Content-Length': 0 },
      ...{ Connection: 'Upgrade', Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': 'v4.channel.k8s.io' },
      // Not for an origin to see.
      ...(host === NAME ? {} : { 'Proxy-Authorization': AUTHORIZATION.trim().replace(/^.*?: /, '') }),
    },
  });
  request.end();
  const [event, answer, socket, head] = await Promise.race([
    once(request, 'response').then((all) => ['response', ...all] as unknown[]),
    once(request, 'upgrade').then((all) => ['upgrade', ...all] as unknown[]),
  ]);
  const { statusCode: status } = answer as IncomingMessage;
  if (event === 'response') return { status, text: await textOf(answer as IncomingMessage) };
  const connection = socket as Socket;
  connection.unshift(head as Buffer);
  const spdy = speakSpdy(connection, 'client', 3);
  const open = (streamtype: string) =>
    new Promise<SpdyStream>((resolve, reject) => {
      const stream = { method: 'POST', host: 'x', path: '/', headers: { streamtype } };
      spdy.request(stream, (error, made) => (error === null ? resolve(made.end()) : reject(error)));
    });
  const [error, stdout] = await Promise.all([open('error'), open('stdout')]);
  const [text, result] = await Promise.all([textOf(stdout), textOf(error)]);
  connection.destroy();
  if (JSON.parse(result).status !== 'Success') throw new Error(result);
  return { status, text };
}

async function textOf(stream: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** Debian's own file, but for the address, and for the folders that are not ours to write to. */
async function startSquid(t: Test): Promise<At> {
  const folder = t.testdir({});
  const file = join(folder, 'squid.conf');
  const debian = readFileSync('/etc/squid/squid.conf', 'latin1');
  const ours = `access_log none
cache_log ${folder}/cache.log
coredump_dir ${folder}
pid_filename none
netdb_filename none
pinger_enable off
shutdown_lifetime 0 seconds
visible_hostname squid.test
`;
  writeFileSync(file, debian.replace(/^http_port 3128$/m, `http_port ${HERE}:3128`) + ours, 'latin1');
  // Started by root it becomes somebody else, who may read nothing here: so it is nobody special from the start.
  const disguise = ['--user', '--map-user=1', '--map-group=1'];
  run(t, 'unshare', [...disguise, 'squid', '-N', '-n', `upgrade${process.pid}`, '-f', file]);
  return listening({ host: HERE, port: 3128 });
}

async function startTinyproxy(t: Test): Promise<At> {
  const folder = t.testdir({});
  const file = join(folder, 'tinyproxy.conf');
  const debian = readFileSync('/etc/tinyproxy/tinyproxy.conf', 'latin1');
  const ours = debian.replace(/^(?:User|Group|LogFile|PidFile) .*$/gm, '');
  writeFileSync(file, `${ours}\nListen ${HERE}\nLogFile "${folder}/tinyproxy.log"\n`, 'latin1');
  run(t, 'tinyproxy', ['-d', '-c', file]);
  return listening({ host: HERE, port: 8888 });
}

function run(t: Test, program: string, argv: readonly string[]): void {
  const child: ChildProcess = spawn(program, argv, { stdio: 'ignore' });
  const closed = once(child, 'close');
  t.teardown(async () => {
    child.kill('SIGKILL');
    await closed;
  });
}

async function listening(at: At): Promise<At> {
  const accepts = async () => {
    const socket = connect(at);
    const does = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    socket.destroy();
    return does;
  };
  await eventually(accepts, (does) => does);
  return at;
}

function portOf(server: ReturnType<typeof createServer>): number {
  return (server.address() as AddressInfo).port; // A TCP server that listens has one.
}
