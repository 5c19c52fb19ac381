import { once } from 'node:events';
import { connect } from 'node:net';
import t, { type Test } from 'tap';
import { resetNow } from '../src/relay/reset.js';
import { receiveAll } from './fixtures/endings.js';
import { startForward, throughPort } from './fixtures/forward.js';
import { eventually, socketsOf } from './fixtures/process-state.js';
import type { RunningProxy } from './fixtures/proxy.js';
import { connectRaw, listenOn } from './fixtures/sockets.js';

const RESET = { bytes: Buffer.alloc(0), end: 'reset' };

/** What the log says of the next connection that becomes no tunnel, beside the record that it may be dialled. */
async function failureOf(t: Test, port: RunningProxy): Promise<Readonly<Record<string, unknown>>> {
  const failed = () => port.log.filter(({ reason }) => reason !== undefined);
  const { length } = failed();
  // Not waiting for the connection: it may be reset before Node hears of it, and has failed then.
  const client = connect({ host: port.host, port: port.port }).on('error', () => {});
  t.teardown(() => void client.destroy());
  t.same(await receiveAll(client), RESET, 'the client is reset: an end of file would pass for an answer');
  await port.until(() => failed().length > length);
  return failed()[length] ?? {};
}

t.test('a target that cannot be reached resets the client, and the log has reason and remedy', async (t) => {
  const absent = await listenOn(t);
  absent.server.close();
  await once(absent.server, 'close');
  for (const { target, reason, code, metric } of [
    { target: `127.0.0.1:${absent.port}`, reason: 'connection_refused', code: 502, metric: 'dial' },
    { target: '127.66.0.1:443', reason: 'connection_timeout', code: 504, metric: 'dial' },
    { target: '[fd67::1]:443', reason: 'destination_ip_unroutable', code: 502, metric: 'dial' },
    { target: 'no-such-name.test:443', reason: 'dns_error', code: 502, metric: 'dns' },
  ] as const) {
    const port = await startForward(t, target, ['--connect-timeout', '200ms']);
    const record = await failureOf(t, port);
    t.match(record, { event: 'close', level: 'warn', target, reason, code }, target);
    t.match(record.msg, /^failed: ./);
    t.match(record.remedy, /^check ./, 'what to do about it');
    t.equal(await port.metric(`spliceway_requests_total{code="${code}",reason="${reason}"}`), 1);
    t.equal(await port.metric(`spliceway_${metric}_failures_total{reason="${reason}"}`), 1);
    t.equal(await port.stop(), 0);
  }
});

t.test('a port that leads to itself resets the client instead of connecting for ever', async (t) => {
  const free = await listenOn(t);
  free.server.close();
  await once(free.server, 'close');
  for (const [listen, target] of [
    [`127.0.0.1:${free.port}`, `v4.test:${free.port}`],
    [`0.0.0.0:${free.port}`, `127.0.0.2:${free.port}`],
  ] as const) {
    const port = await startForward(t, target, ['--listen', listen]);
    const record = await failureOf(t, port);
    t.match(record, { event: 'decision', reason: 'destination_is_proxy', remedy: /--target and --listen/ });
    t.equal(port.log.filter(({ event }) => event === 'decision').length, 1);
    t.equal(await port.metric('spliceway_policy_refusals_total{reason="destination_is_proxy"}'), 1);
    t.equal(await port.stop(), 0);
  }
});

t.test('one connection more than --max-tunnels is reset, and the others do not notice', async (t) => {
  const peer = await listenOn(t);
  const port = await startForward(t, `127.0.0.1:${peer.port}`, ['--max-tunnels', '1']);
  const { client, upstream } = await throughPort(t, port, peer);
  t.match(await failureOf(t, port), { reason: 'connection_limit_reached', remedy: /--max-tunnels/ });
  t.equal(await port.metric('spliceway_requests_total{code="503",reason="connection_limit_reached"}'), 1);
  client.end('still here');
  t.same(await receiveAll(upstream), { bytes: Buffer.from('still here'), end: 'fin' });
  upstream.end();
  await port.until(({ event, cause }) => event === 'close' && cause === 'client_fin');
  const next = await throughPort(t, port, peer);
  next.client.end();
  next.upstream.end();
  t.equal(await port.stop(), 0);
});

t.test('a client that resets while its upstream is dialled leaves nothing behind', async (t) => {
  // Without the client's leaving, nothing would end the dial within the time of this test.
  const port = await startForward(t, '127.66.0.1:443', ['--connect-timeout', '1h', '--dial-timeout', '1h']);
  const before = socketsOf(port.process);
  const gone = () => port.log.filter(({ reason }) => reason === 'client_gone').length;
  for (const [at, early] of ['', 'hello'].entries()) {
    const client = await connectRaw(t, port);
    await eventually(
      () => socketsOf(port.process),
      (count) => count === before + 2,
    );
    // What comes while it is stopped comes together, which Node takes for something else than bytes and a reset.
    port.process.kill('SIGSTOP');
    if (early !== '') await new Promise((resolve) => client.write(early, resolve));
    resetNow(client);
    port.process.kill('SIGCONT');
    await port.until(() => gone() === at + 1);
    const left = await eventually(
      () => socketsOf(port.process),
      (count) => count === before,
    );
    t.equal(left, before, `no socket is left, ${early === '' ? 'without' : 'with'} early bytes`);
  }
  t.equal(await port.metric('spliceway_requests_total{code="499",reason="client_gone"}'), 2);
  t.equal(await port.stop(), 0);
});

t.test('a listener that others can reach is warned about', async (t) => {
  const port = await startForward(t, '127.0.0.1:443', ['--listen', '0.0.0.0:0']);
  t.match(await port.until(({ event }) => event === 'warning'), {
    level: 'warn',
    msg: /^whoever reaches 0\.0\.0\.0:0 reaches the target/,
  });
  const local = await startForward(t, '127.0.0.1:443', ['--listen', 'localhost:0', '--listen', '[::1]:0']);
  t.same(
    local.log.filter(({ level }) => level !== 'info'),
    [],
  );
});
