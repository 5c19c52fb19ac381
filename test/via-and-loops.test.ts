import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import t, { type Test } from 'tap';
import { LOOPBACK, linesNamed, reach, readAnswer, requestFor, urlOf } from './fixtures/forwarding.js';
import { eventually } from './fixtures/process-state.js';
import { AUTHORIZATION, type RunningProxy, startProxy } from './fixtures/proxy.js';
import { checkRefusal } from './fixtures/refusals.js';
import { connectRaw, listenOn, readHead } from './fixtures/sockets.js';

const OWN = /^Via: 1\.[01] spliceway-[0-9a-f]{8}$/;

t.test('Via is put behind those of others, in both directions, with the version that came', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, LOOPBACK);
  for (const [version, others] of [
    ['1.1', []],
    ['1.0', ['Via: 1.0 fred']],
    ['1.1', ['Via: 1.0 fred, 1.1 p.example:80 (Apache/2)', 'via: HTTP/1.1 spliceway']],
  ] as const) {
    const fields = others.map((line) => `${line}\r\n`).join('');
    const { client, origin, head } = await reach(
      t,
      proxy,
      peer,
      requestFor(urlOf(peer), { version, fields }),
    );
    const there = linesNamed(head, 'via');
    t.same(there.slice(0, -1), others);
    t.match(there.at(-1), OWN);
    t.match(there.at(-1), `Via: ${version} `);
    origin.write(`HTTP/1.1 103 Hints\r\n\r\n`);
    if (version === '1.1') {
      const interim = await readHead(client);
      t.match(linesNamed(interim, 'via'), [OWN]);
      client.unshift(interim.rest);
    }
    origin.end(`HTTP/${version} 200 OK\r\n${fields}Content-Length: 0\r\n\r\n`);
    const back = linesNamed(await readAnswer(client), 'via');
    t.same(back.slice(0, -1), others);
    t.equal(back.at(-1), there.at(-1), 'by the same name');
  }
  const other = await startProxy(t, LOOPBACK);
  const named = async (through: RunningProxy) =>
    linesNamed((await reach(t, through, peer, requestFor(urlOf(peer)))).head, 'via');
  t.same(await named(proxy), await named(proxy), 'the same for every request');
  t.notSame(await named(proxy), await named(other), 'and no other process has it');
});

t.test('with --no-via there is none, and those of others stay', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, [...LOOPBACK, '--no-via']);
  const fields = 'Via: 1.1 fred\r\n';
  const { client, origin, head } = await reach(t, proxy, peer, requestFor(urlOf(peer), { fields }));
  t.same(linesNamed(head, 'via'), ['Via: 1.1 fred']);
  origin.end(`HTTP/1.1 200 OK\r\n${fields}Content-Length: 0\r\n\r\n`);
  t.same(linesNamed(await readAnswer(client), 'via'), ['Via: 1.1 fred']);
});

t.test('a request that a proxy behind us sends back to us is refused as a loop', async (t) => {
  const proxy = await startProxy(t, LOOPBACK);
  const port = await startReturner(t, proxy);
  const client = await connectRaw(t, proxy);
  client.write(requestFor(`http://127.0.0.1:${port}/round`));
  const answer = await readAnswer(client);
  t.match(answer, { status: 502, headers: { 'content-type': /^text\/plain/ } });
  t.match(answer.body, /^proxy_loop_detected: /);
  const refused = await proxy.until(({ reason }) => reason === 'proxy_loop_detected');
  t.match(refused, { event: 'decision', decision: 'refused', code: 502, level: 'warn', method: 'GET' });
  await proxy.until(({ event, status }) => event === 'close' && status === 502);
  t.equal(proxy.log.filter(({ event }) => event === 'decision').length, 2, 'once round, and no further');
  t.equal(await proxy.metric('spliceway_requests_total{code="502",reason="proxy_loop_detected"}'), 1);
});

t.test('an answer that names us is no loop, nor is a name that begins like ours', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, LOOPBACK);
  const first = await reach(t, proxy, peer, requestFor(urlOf(peer)));
  const name = linesNamed(first.head, 'via')[0]?.split(' ')[2] ?? '';
  for (const via of [`1.1 ${name}x`, `1.1 x${name}`, `1.1 other (${name})`]) {
    const { client, origin } = await reach(
      t,
      proxy,
      peer,
      requestFor(urlOf(peer), { fields: `Via: ${via}\r\n` }),
    );
    origin.end(`HTTP/1.1 200 OK\r\nVia: 1.1 ${name}\r\nContent-Length: 0\r\n\r\n`);
    t.equal((await readAnswer(client)).status, 200, via);
  }
  for (const via of [`1.1 ${name}`, `1.0 a, 1.1 ${name} (us), 1.1 b`, `HTTP/1.1   ${name}`])
    await checkRefusal(t, proxy, requestFor(urlOf(peer), { fields: `Via: 1.1 x\r\nVia: ${via}\r\n` }), {
      status: 502,
      reason: 'proxy_loop_detected',
    });
});

/** HAProxy, which asks this proxy for whatever it is asked for. Resolves with its port. */
async function startReturner(t: Test, proxy: RunningProxy): Promise<number> {
  const { port, server } = await listenOn(t);
  server.close();
  const config = [
    'defaults',
    '  mode http',
    '  timeout connect 5s',
    '  timeout client 20s',
    '  timeout server 20s',
    'frontend in',
    `  bind 127.0.0.1:${port}`,
    '  http-request set-uri http://%[hdr(host)]%[path]',
    `  http-request set-header Proxy-Authorization "${AUTHORIZATION.split(': ')[1]?.trim()}"`,
    '  default_backend out',
    'backend out',
    `  server proxy 127.0.0.1:${proxy.port}`,
    '',
  ];
  const directory = t.testdir({ 'haproxy.cfg': config.join('\n') });
  const haproxy = spawn('haproxy', ['-db', '-f', `${directory}/haproxy.cfg`], { stdio: 'ignore' });
  const exited = once(haproxy, 'exit');
  t.teardown(async () => {
    haproxy.kill('SIGKILL');
    await exited;
  });
  await eventually(
    () =>
      new Promise<boolean>((resolve) => {
        const socket = connect(port, '127.0.0.1');
        socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
        socket.once('connect', () => socket.destroy());
      }),
    (can) => can,
  );
  return port;
}
