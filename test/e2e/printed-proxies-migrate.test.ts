import { mkdir, rm } from 'node:fs/promises';
import t, { type Test } from 'tap';
import { digestTree } from '../../src/commands/rehearsal/digest.js';
import { transfer } from '../../src/commands/rehearsal/transfer.js';
import { linesOf, startTarget } from '../fixtures/e2e-clusters.js';
import {
  PRINTED_CREDENTIALS,
  PRINTED_ROUTE_HOST,
  printed,
  replaced,
  runPrintedCommand,
  startPrinted,
  startPrintedSquid,
  startPrintedStunnel,
} from '../fixtures/printed-proxies.js';
import { connectRaw, readHead } from '../fixtures/sockets.js';

const target = await startTarget(t, { routeHost: PRINTED_ROUTE_HOST });
const { workspace, router } = target;
const ONLY_PORT = String(router.port);
const APPS = ['--target-apps', 'apps.target.test'];

/** What was printed for the source pods of the one namespace, whose proxy is this one. */
function sourcePods(port: number): string {
  const proxy = ['--proxy', `127.0.0.1:${port}`];
  return printed('stunnel', '--mtc', '1.7', '--source-namespace', 'a', ...APPS, ...proxy);
}

/** The volume goes through this stunnel, and arrives as it is. */
async function checkTransfer(t: Test, port: number): Promise<void> {
  await transfer(workspace, { ...target, port });
  const digest = (directory: string) => digestTree(directory, workspace.signal);
  t.same(await digest(target.destination), await digest(target.source), 'what arrived is what was sent');
  await rm(target.destination, { recursive: true });
  await mkdir(target.destination);
}

/** The status of the answer to a CONNECT, or to a GET of a URL. */
async function statusOf(
  t: Test,
  port: number,
  {
    request = '',
    password = PRINTED_CREDENTIALS.password,
  }: { request?: string; password?: string | undefined },
): Promise<number> {
  const client = await connectRaw(t, { host: '127.0.0.1', port });
  const credentials = Buffer.from(`${PRINTED_CREDENTIALS.username}:${password}`).toString('base64');
  const authorization = password === '' ? '' : `Proxy-Authorization: Basic ${credentials}\r\n`;
  client.write(`${request} HTTP/1.1\r\nHost: x.test\r\n${authorization}\r\n`);
  const text = await readHead(client).then(
    (head) => head.text,
    (error: Error) => error.message,
  );
  client.destroy();
  return Number(/HTTP\/1\.[01] (\d{3})/.exec(text)?.[1]);
}

/** What every one of them refuses, and how. */
async function checkRefusals(t: Test, port: number, wrongPassword: number): Promise<void> {
  const right = `CONNECT ${PRINTED_ROUTE_HOST}:${ONLY_PORT}`;
  t.equal(await statusOf(t, port, { request: right }), 200);
  t.equal(await statusOf(t, port, { request: right.toUpperCase() }), 200, 'names have no case');
  t.equal(await statusOf(t, port, { request: right, password: 'wrong' }), wrongPassword);
  t.equal(await statusOf(t, port, { request: right, password: '' }), 407);
  for (const request of [
    `CONNECT target.test:${ONLY_PORT}`,
    `CONNECT console.apps.target.test:${ONLY_PORT}`,
    `CONNECT ${PRINTED_ROUTE_HOST}.other.test:${ONLY_PORT}`,
    `CONNECT dvm-a.other.apps.target.test:${ONLY_PORT}`,
    `CONNECT dvm-aXappsXtarget.test:${ONLY_PORT}`,
    `CONNECT 127.0.0.1:${ONLY_PORT}`,
    `CONNECT ${PRINTED_ROUTE_HOST}:1`,
    `GET http://other.test:${ONLY_PORT}/`,
  ])
    t.equal(await statusOf(t, port, { request }), 403, request);
}

t.test('the real Squid carries a migration with what is printed, and nothing else', async (t) => {
  const passwords = '/etc/squid/migration.passwords';
  const squid = await startPrintedSquid(workspace, async (port) => {
    const configuration = printed('squid', ...APPS, '--proxy', `127.0.0.1:${port}`);
    const line = await runPrintedCommand(configuration, passwords, `${PRINTED_CREDENTIALS.password}\n`);
    const file = await workspace.write('squid.passwords', line);
    return replaced(configuration, {
      [passwords]: file,
      'port 443\n': `port ${ONLY_PORT}\n`,
      [`http_port ${port}`]: `http_port 127.0.0.1:${port}`,
    });
  });
  const stunnel = await startPrintedStunnel(target, { configuration: sourcePods(squid.port) });
  await checkTransfer(t, stunnel.port);
  t.match(await linesOf(stunnel, /<- HTTP/), '200 Connection established');
  await checkRefusals(t, squid.port, 407);
  t.equal(await statusOf(t, squid.port, { request: `GET http://${PRINTED_ROUTE_HOST}:${ONLY_PORT}/` }), 403);
});

t.test('the real tinyproxy carries a migration with what is printed, and nothing else', async (t) => {
  const filter = '/etc/tinyproxy/migration.filter';
  const tinyproxy = await startPrinted(workspace, ['tinyproxy', '-d', '-c'], async (port) => {
    const configuration = printed('tinyproxy', ...APPS, '--proxy', `127.0.0.1:${port}`);
    const file = await workspace.write('tinyproxy.filter', await runPrintedCommand(configuration, filter));
    return replaced(configuration, {
      [filter]: file,
      'ConnectPort 443': `ConnectPort ${ONLY_PORT}`,
      // Nobody to become for an ordinary user.
      'User tinyproxy\nGroup tinyproxy\n': '',
    });
  });
  const stunnel = await startPrintedStunnel(target, { configuration: sourcePods(tinyproxy.port) });
  await checkTransfer(t, stunnel.port);
  t.match(await linesOf(stunnel, /<- HTTP/), '200 Connection established');
  await checkRefusals(t, tinyproxy.port, 401);
});

t.test('the real HAProxy carries a migration with what is printed, by SNI and without CONNECT', async (t) => {
  const haproxy = await startPrinted(workspace, [workspace.programs.haproxy, '-db', '-f'], (port) =>
    replaced(printed('haproxy', ...APPS), {
      'bind :443': `bind 127.0.0.1:${port}`,
      'dvm.apps.target.test:443': `127.0.0.1:${router.port}`,
    }),
  );
  // What MTC writes where there is no proxy: the Route itself, to which the name servers of the source lead here.
  const template = sourcePods(haproxy.port);
  const direct = (host: string) =>
    startPrintedStunnel(target, {
      configuration: template.replace(/protocol = .*/s, `connect = ${host}:443\n`),
      port: haproxy.port,
    });
  const stunnel = await direct(PRINTED_ROUTE_HOST);
  await checkTransfer(t, stunnel.port);
  t.match(await linesOf(haproxy, /sni=/), new RegExp(`sni=${PRINTED_ROUTE_HOST} -> routes/routes`));

  const elsewhere = await direct('target.test');
  await t.rejects(transfer(workspace, { ...target, port: elsewhere.port }), {
    message: /^rsync ended with code/,
  });
  t.match(await linesOf(haproxy, /sni=target\.test/), /-> routes\/<NOSRV>/, 'nothing else is let through');
});
