import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import { resetNow } from '../src/relay/reset.js';
import { readUntilEnd, receiveAll } from './fixtures/endings.js';
import { startForward, throughPort } from './fixtures/forward.js';
import { PASSWORD, type RunningProxy, startProxy, USER } from './fixtures/proxy.js';
import { connectRaw, listenOn, readBytes } from './fixtures/sockets.js';
import { startSquid } from './fixtures/squid.js';

/** Where a parent listens. */
type At = { readonly host: string; readonly port: number };

const PARENTS = {
  spliceway: (t: Test, port: number): Promise<At> => startProxy(t, ['--allow', `127.0.0.0/8:${port}`]),
  Squid: (t: Test, port: number): Promise<At> => startSquid(t, [port]),
} as const;

const BYTES = 24 * 1024 * 1024;
const NOTHING = Buffer.alloc(0);

for (const [what, startParent] of Object.entries(PARENTS)) {
  t.test(`through ${what}`, async (t) => {
    const peer = await listenOn(t);
    const parent = await startParent(t, peer.port);
    const name = `http://127.0.0.1:${parent.port}`;
    const url = (password: string) => `http://${USER}:${password}@127.0.0.1:${parent.port}`;

    await t.test('bytes arrive as they were sent, both ways at once, on the native relay', async (t) => {
      // Only the parent is asked for this name.
      const target = `target.test:${peer.port}`;
      const port = await startForward(t, target, ['--parent', url(PASSWORD)]);
      const { client, upstream } = await throughPort(t, port, peer);
      const up = randomBytes(BYTES);
      const down = randomBytes(BYTES);
      const sums = Promise.all([checksum(upstream), checksum(client)]);
      client.write(up);
      upstream.write(down);
      t.same(await sums, [sha256(up), sha256(down)]);
      // Not before: Squid ends both halves with one.
      client.end();
      upstream.end();
      const close = await port.until(({ event }) => event === 'close');
      t.match(close, { target, parent: name, engine: 'splice', bytesUp: BYTES, bytesDown: BYTES });
      t.equal(await port.metric(`spliceway_parent_dials_total{parent="${name}",result="opened"}`), 1);
      t.match(port.stdout(), `leads to       ${target}\nthrough        ${name}\n`);
      keepsTheSecret(t, port, PASSWORD);
      t.equal(await port.stop(), 0);
    });

    await t.test('the password may come from a variable', async (t) => {
      const port = await startForward(t, `127.0.0.1:${peer.port}`, [], {
        env: { SPLICEWAY_PARENT: url(PASSWORD) },
      });
      const { client, upstream } = await throughPort(t, port, peer);
      upstream.write('220 ready');
      t.equal((await readBytes(client, 9)).toString(), '220 ready', 'the upstream speaks first');
      client.end();
      upstream.end();
      t.equal(await port.stop(), 0);
    });

    await t.test('a wrong password resets the client, and the log names the parent', async (t) => {
      const port = await startForward(t, `127.0.0.1:${peer.port}`, ['--parent', url('hunter2')]);
      t.match(await failureOf(t, port), {
        reason: 'parent_credentials_rejected',
        code: 502,
        msg: `${name} answered 407`,
        remedy: 'correct user and password in --parent',
      });
      const series = `spliceway_parent_dials_total{parent="${name}",result="parent_credentials_rejected"}`;
      t.equal(await port.metric(series), 1);
      keepsTheSecret(t, port, 'hunter2');
      t.equal(await port.stop(), 0);
    });

    await t.test('a target that the parent does not allow resets the client', async (t) => {
      const port = await startForward(t, `target.test:${peer.port + 1}`, ['--parent', url(PASSWORD)]);
      t.match(await failureOf(t, port), {
        reason: 'parent_refused',
        msg: `${name} answered 403`,
        remedy: /log of the parent/,
      });
      t.equal(await port.stop(), 0);
    });
  });
}

t.test('a parent that is not there resets the client, unless another one is', async (t) => {
  const peer = await listenOn(t);
  const absent = await listenOn(t);
  absent.server.close();
  await once(absent.server, 'close');
  const name = `http://127.0.0.1:${absent.port}`;
  const alone = await startForward(t, `127.0.0.1:${peer.port}`, ['--parent', name]);
  t.match(await failureOf(t, alone), { reason: 'parent_unreachable', msg: name, level: 'warn' });
  t.equal(await alone.stop(), 0);

  const backed = await startForward(t, `127.0.0.1:${peer.port}`, ['--parent', `${name},direct`]);
  t.match(backed.stdout(), `through        ${name}, else direct\n`);
  const { client, upstream } = await throughPort(t, backed, peer);
  client.end('by the other way');
  t.same(await receiveAll(upstream), { bytes: Buffer.from('by the other way'), end: 'fin' });
  upstream.end();
  t.match(await backed.until(({ event }) => event === 'close'), {
    parentsFailed: [`${name} parent_unreachable`],
  });
  t.equal(await backed.stop(), 0);
});

t.test('ends of file and resets come through port and parent as they are', async (t) => {
  const peer = await listenOn(t);
  const parent = await PARENTS.spliceway(t, peer.port);
  const url = `http://${USER}:${PASSWORD}@127.0.0.1:${parent.port}`;
  const port = await startForward(t, `127.0.0.1:${peer.port}`, ['--parent', url]);

  const silent = await connectRaw(t, port);
  silent.end();
  const asked = await peer.next();
  t.same(await receiveAll(asked), { bytes: NOTHING, end: 'fin' }, 'an end of file without a byte');
  asked.end('the time of day');
  t.same(await receiveAll(silent), { bytes: Buffer.from('the time of day'), end: 'fin' });

  for (const side of ['client', 'upstream'] as const) {
    const ends = await throughPort(t, port, peer);
    const other = side === 'client' ? ends.upstream : ends.client;
    ends[side].write('half');
    t.equal((await readBytes(other, 4)).toString(), 'half');
    resetNow(ends[side]);
    t.same(await receiveAll(other), { bytes: NOTHING, end: 'reset' }, `a reset of the ${side}`);
    await port.until(({ cause }) => cause === `${side}_reset`);
  }
  t.equal(await port.stop(), 0);
});

/** The record of the only connection, which becomes no tunnel. */
async function failureOf(t: Test, port: RunningProxy): Promise<Readonly<Record<string, unknown>>> {
  const client = await connectRaw(t, port);
  t.same(await receiveAll(client), { bytes: NOTHING, end: 'reset' });
  const record = await port.until(({ reason }) => reason !== undefined);
  t.equal(record.event, 'close');
  return record;
}

function keepsTheSecret(t: Test, port: RunningProxy, secret: string): void {
  t.notMatch(port.stdout(), secret);
  t.notMatch(JSON.stringify(port.log), secret);
}

/** Of what arrives, once that are as many bytes as were sent; otherwise how it ended. */
async function checksum(socket: Socket): Promise<string> {
  const hash = createHash('sha256');
  let count = 0;
  return new Promise((resolve) => {
    const take = (chunk: Buffer) => {
      hash.update(chunk);
      count += chunk.length;
      if (count >= BYTES) resolve(hash.digest('hex'));
    };
    void readUntilEnd(socket, take).then((end) => resolve(`${end} behind ${count} bytes`));
  });
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
