import t from 'tap';
import { receiveAll } from './fixtures/endings.js';
import { startProxy } from './fixtures/proxy.js';
import { connectHead, connectRaw, listenOn, readHead } from './fixtures/sockets.js';

/** The upstream is there at once, or when the end of file has long come: after the time that a silent address is given. */
for (const host of ['v4.test', 'v6.test', 'blackhole-first.test']) {
  t.test(`request, data and end of file in one segment are a question that ${host} answers`, async (t) => {
    const peer = await listenOn(t, host === 'v6.test' ? '::1' : '127.0.0.1');
    const proxy = await startProxy(t, [
      '--allow',
      '127.0.0.0/8:*',
      '--allow',
      '[::1]/128:*',
      '--allow',
      '[fd66::]/32:*',
    ]);
    const client = await connectRaw(t, proxy);
    client.end(`${connectHead(`${host}:${peer.port}`)}question`);
    const upstream = await peer.next();
    t.same(await receiveAll(upstream), { bytes: Buffer.from('question'), end: 'fin' });
    upstream.end('answer');
    const { status, rest } = await readHead(client);
    t.equal(status, 200);
    const { bytes, end } = await receiveAll(client);
    t.same(Buffer.concat([rest, bytes]), Buffer.from('answer'));
    t.equal(end, 'fin');
    t.match(await proxy.until(({ event }) => event === 'close'), {
      cause: 'client_fin',
      bytesUp: 8,
      bytesDown: 6,
    });
  });
}
