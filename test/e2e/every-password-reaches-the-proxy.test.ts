import { connect } from 'node:net';
import t from 'tap';
import { stunnelClientConfiguration } from '../../src/commands/mtc/configurations.js';
import { readProxyUrl, writeProxyUrl } from '../../src/commands/mtc/proxy-url.js';
import { startOnPort } from '../../src/commands/rehearsal/ports.js';
import type { Workspace } from '../../src/commands/rehearsal/workspace.js';
import { createWorkspace } from '../fixtures/e2e-clusters.js';
import { startProxy } from '../fixtures/proxy.js';
import { listenOn, readHead } from '../fixtures/sockets.js';

interface Credentials {
  readonly username: string;
  readonly password: string;
}

const PRINTABLE = Array.from({ length: 0x5e }, (_, at) => String.fromCharCode(0x21 + at));
const TARGET = 'dvm-a.apps.target.test:443';

/** Each printable character at both ends, where parsers look for comments and blanks; and what no ASCII is. */
const POSSIBLE: readonly Credentials[] = [
  ...PRINTABLE.map((character) => ({ username: 'u', password: `${character}x ${character}` })),
  ...PRINTABLE.filter((character) => character !== ':').map((character) => ({
    username: `${character}x${character}`,
    password: 'p',
  })),
  ...['ä', '\u00a0x\u00a0', '😀', '%41', '[x]', 'x'.repeat(3000)].map((password) => ({
    username: 'ü',
    password,
  })),
];

/** What `writeProxyUrl` refuses, and what stunnel sends then. */
const IMPOSSIBLE: readonly (readonly [Credentials, sent: string | undefined])[] = [
  [{ username: 'u', password: ' p' }, 'u:p'],
  [{ username: 'u', password: 'p ' }, 'u:p'],
  [{ username: ' u', password: 'p' }, 'u:p'],
  [{ username: 'u', password: '' }, undefined],
  [{ username: '', password: 'p' }, undefined],
];

/** One stunnel with a service for each of these credentials, as MTC configures it, each at an address of its own. */
async function startServices(
  workspace: Workspace,
  services: readonly Credentials[],
  proxy: string,
): Promise<(at: number) => { readonly host: string; readonly port: number }> {
  const address = (at: number) => `127.0.88.${at + 1}`;
  const party = await startOnPort(workspace.place, { usual: 6443 }, async (port) => {
    const files = services.map((credentials, at) =>
      stunnelClientConfiguration({
        generation: '1.6',
        accept: `${address(at)}:${port}`,
        ...{ proxy, target: TARGET, certificateFile: '', keyFile: '', ...credentials },
      }).replace(/^(?:cert|key) = \n/gm, ''),
    );
    const sections = files.map((file, at) => file.replace(/.*^\[rsync\]/ms, `[service ${at}]`));
    const global = files[0]?.replace(/^\[rsync\].*/ms, '') ?? '';
    // Where the program is waited for; nobody is behind it.
    const ready = `[ready]\naccept = 127.0.0.1:${port}\nconnect = 127.0.0.1:1\n`;
    const file = await workspace.write(
      `services-${services.length}.conf`,
      [global, ...sections, ready].join(''),
    );
    return workspace.start('stunnel', workspace.programs.stunnel, [file]);
  });
  return (at) => ({ host: address(at), port: party.port });
}

t.test('stunnel sends the credentials that were written into stunnel_tcp_proxy', async (t) => {
  const workspace = await createWorkspace(t);
  const proxy = await listenOn(t);
  const through = POSSIBLE.map((credentials) => {
    const written = writeProxyUrl({ host: 'proxy.test', port: 3128, ...credentials });
    const read = readProxyUrl('url' in written ? written.url : written.problem);
    if ('problem' in read) throw new Error(read.problem);
    return read;
  });
  const all: readonly Credentials[] = [...through, ...IMPOSSIBLE.map(([credentials]) => credentials)];
  const service = await startServices(workspace, all, `${proxy.host}:${proxy.port}`);

  const headOf = async (at: number): Promise<string> => {
    const client = connect(service(at));
    client.on('error', () => {});
    // Not once(), which rejects: stunnel may end it with a reset.
    const closed = new Promise((resolve) => client.once('close', resolve));
    const asked = await proxy.next();
    const { text } = await readHead(asked);
    asked.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
    await closed;
    return text;
  };
  const expected = (sent: string | undefined) =>
    [
      `CONNECT ${TARGET} HTTP/1.1`,
      `Host: ${TARGET}`,
      ...(sent === undefined ? [] : [`Proxy-Authorization: basic ${Buffer.from(sent).toString('base64')}`]),
    ].join('\r\n');
  for (const [at, { username, password }] of POSSIBLE.entries())
    t.equal(await headOf(at), expected(`${username}:${password}`), `${username}:${password}`.slice(0, 40));
  for (const [at, [credentials, sent]] of IMPOSSIBLE.entries()) {
    t.match(writeProxyUrl({ host: 'proxy.test', port: 3128, ...credentials }), { problem: /stunnel/ });
    t.equal(await headOf(POSSIBLE.length + at), expected(sent), 'refused for what stunnel makes of it');
  }
});

t.test('spliceway takes them from stunnel', async (t) => {
  const workspace = await createWorkspace(t);
  const credentials = { username: 'a {#;\'"\\%41', password: `${PRINTABLE.join('')} äx\u00a0😀` };
  const spliceway = await startProxy(t, [], {
    env: { SPLICEWAY_USERNAME: credentials.username, SPLICEWAY_PASSWORD: credentials.password },
  });
  const service = await startServices(workspace, [credentials], `${spliceway.host}:${spliceway.port}`);
  const client = connect(service(0));
  client.on('error', () => {});
  t.teardown(() => void client.destroy());
  t.match(await spliceway.until(({ target }) => target === TARGET), {
    user: credentials.username,
    reason: /^(?!credentials)/,
  });
});
