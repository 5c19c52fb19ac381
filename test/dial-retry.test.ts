import t, { type Test } from 'tap';
import { TunnelError } from '../src/reasons.js';
import { parseTarget, type Target } from '../src/target.js';
import { dial } from '../src/upstream/dial.js';
import { startProxy } from './fixtures/proxy.js';
import { connectHead, connectRaw, exchange, listenOn } from './fixtures/sockets.js';

/** Deadlines that no test waits for. */
const PATIENT = {
  dnsTimeoutMs: 120_000,
  connectTimeoutMs: 120_000,
  parentTimeoutMs: 120_000,
  dialTimeoutMs: 120_000,
  dialRetryMs: 60_000,
};

function target(text: string): Target {
  const parsed = parseTarget(text);
  if ('problem' in parsed) throw new Error(parsed.problem);
  return parsed;
}

/** An address of this file's own, so that no other test takes its ports. */
const HERE = '127.0.0.6';

/** A port at which nothing listens. */
async function closedPort(t: Test): Promise<number> {
  const { port, server } = await listenOn(t, HERE);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** The failure of a dial, and how long it took. */
async function failureOf(
  dialling: () => Promise<unknown>,
): Promise<{ readonly error: unknown; readonly ms: number }> {
  const startedMs = performance.now();
  const error = await dialling().then(
    () => new Error('it was expected to fail'),
    (reason: unknown) => reason,
  );
  return { error, ms: performance.now() - startedMs };
}

t.test('a target that comes up while it is tried again is reached', async (t) => {
  const port = await closedPort(t);
  let tries = 0;
  let listening: Promise<unknown> | undefined;
  const judge = () => {
    tries += 1;
    // Two tries have failed by now.
    if (tries === 3) listening = listenOn(t, HERE, port);
    return undefined;
  };
  const { socket, address } = await dial(
    target(`${HERE}:${port}`),
    { ...PATIENT, judge },
    new AbortController(),
  );
  socket.destroy();
  await listening;
  t.equal(address, HERE);
  t.ok(tries >= 3 && tries <= 4, `${tries} tries`);
});

t.test('without --dial-retry there is one try', async (t) => {
  const port = await closedPort(t);
  let tries = 0;
  const judge = () => {
    tries += 1;
    return undefined;
  };
  const { error } = await failureOf(() =>
    dial(target(`${HERE}:${port}`), { ...PATIENT, dialRetryMs: 0, judge }, new AbortController()),
  );
  t.match(error, { reason: 'connection_refused' });
  t.equal(tries, 1);
});

t.test('what the policy refuses is not tried again', async (t) => {
  let tries = 0;
  const judge = () => {
    tries += 1;
    return new TunnelError('destination_denied');
  };
  const { error } = await failureOf(() =>
    dial(target('127.0.0.1:1'), { ...PATIENT, judge }, new AbortController()),
  );
  t.match(error, { reason: 'destination_denied' });
  t.equal(tries, 1);
});

t.test('the tries end with --dial-retry, and the last failure is told', async (t) => {
  const port = await closedPort(t);
  let tries = 0;
  const judge = () => {
    tries += 1;
    return undefined;
  };
  const { error, ms } = await failureOf(() =>
    dial(target(`${HERE}:${port}`), { ...PATIENT, dialRetryMs: 500, judge }, new AbortController()),
  );
  t.match(error, { reason: 'connection_refused' });
  // Behind waits of 100, 250 and 500 ms; a busy machine has time for fewer.
  t.ok(ms >= 495 && tries <= 4, `${tries} tries in ${ms} ms`);
});

t.test('--dial-timeout ends a try that goes on, and its duration is told', async (t) => {
  const { error, ms } = await failureOf(() =>
    dial(
      target('127.66.0.1:443'),
      { ...PATIENT, dialTimeoutMs: 300, judge: () => undefined },
      new AbortController(),
    ),
  );
  t.match(error, {
    reason: 'connection_timeout',
    message: '127.66.0.1:443 was not reached within 0.3 s',
    remedy: /--dial-timeout/,
  });
  t.ok(ms >= 295 && ms < 60_000, `${ms} ms`);
  const { connectMs = 0 } = error instanceof TunnelError ? error.timings : {};
  t.ok(connectMs > 0 && connectMs <= ms, `${connectMs} of ${ms} ms`);
});

t.test('where --dial-timeout cuts a later try short, the failure before it is told', async (t) => {
  // What is a client's is nobody's to listen at.
  const { localPort: port = 0 } = await connectRaw(t, await listenOn(t));
  let addresses = 0;
  // A name of two addresses: one refuses, and is all that the first try may have; the other one is a black hole.
  const judge = (address: string | undefined) => {
    addresses += 1;
    const permitted = addresses <= 2 ? '127.0.0.1' : 'fd66::1';
    return address === permitted ? undefined : new TunnelError('destination_denied');
  };
  const { error } = await failureOf(() =>
    dial(
      target(`blackhole-first.test:${port}`),
      { ...PATIENT, dialTimeoutMs: 1500, judge },
      new AbortController(),
    ),
  );
  t.match(error, { reason: 'connection_refused', message: `127.0.0.1:${port} ECONNREFUSED` });
  t.equal(addresses, 4, 'of two tries');
});

t.test('who leaves during a try, or while it waits for the next, ends the dial at once', async (t) => {
  const port = await closedPort(t);
  for (const [host, leavesInTry] of [
    // Never answered.
    ['127.66.0.1', 1],
    // Refused for the fourth time, and tried again after a second only.
    [HERE, 4],
  ] as const) {
    const gone = new AbortController();
    let tries = 0;
    let failure: unknown;
    const left = new Promise((resolve) => gone.signal.addEventListener('abort', resolve));
    const judge = () => {
      tries += 1;
      if (tries === leavesInTry) setTimeout(() => gone.abort(new Error('gone')), 50);
      return undefined;
    };
    const dialling = dial(target(`${host}:${port}`), { ...PATIENT, judge }, gone);
    void dialling.catch((error: unknown) => {
      failure = error;
    });
    await left;
    // Nothing is awaited in between: neither an attempt, nor a timer.
    await new Promise((resolve) => setImmediate(resolve));
    t.match(failure, { message: 'gone' });
    t.equal(tries, leavesInTry);
  }
});

t.test('--dial-retry saves the attempts of a client while a router restarts', async (t) => {
  const port = await closedPort(t);
  const proxy = await startProxy(t, ['--allow', '127.0.0.0/8:*', '--dial-retry', '30s']);
  const answer = exchange(t, proxy, connectHead(`${HERE}:${port}`));
  await proxy.until(({ event }) => event === 'decision');
  await listenOn(t, HERE, port);
  t.equal((await answer).status, 200);
});
