import t from 'tap';
import { startProxy } from './fixtures/proxy.js';
import { requestWith } from './fixtures/requests.js';
import { exchange, listenOn } from './fixtures/sockets.js';

t.test('what is unusual and allowed leads to a tunnel', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, ['--allow', '127.0.0.0/8:*']);
  const authority = `127.0.0.1:${peer.port}`;
  const line = `${authority} HTTP/1.1`;
  const requests: readonly (readonly [what: string, request: string])[] = [
    [
      'HTTP/1.0 without Host, as OpenVPN sends it',
      requestWith({ line: `${authority} HTTP/1.0`, fields: '' }),
    ],
    ['HTTP/1.0 with Host', requestWith({ line: `${authority} HTTP/1.0` })],
    ['an empty Host', requestWith({ line, fields: 'Host:\r\n' })],
    ['another Host', requestWith({ line, fields: 'Host: other.test\r\n' })],
    ['Content-Length: 0', requestWith({ line, fields: 'Host: host.test\r\nContent-Length: 0\r\n' })],
    ['Expect: 100-continue', requestWith({ line, fields: 'Host: host.test\r\nExpect: 100-continue\r\n' })],
    ['Connection: close', requestWith({ line, fields: 'Host: host.test\r\nConnection: close\r\n' })],
    [
      'Connection: Upgrade',
      requestWith({ line, fields: 'Host: host.test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n' }),
    ],
    ['several spaces in the request line', requestWith({ method: 'CONNECT  ', line })],
    ['empty lines before', `\r\n\r\n${requestWith({ line })}`],
    ['100 fields', requestWith({ line, fields: `Host: host.test\r\n${'N: v\r\n'.repeat(98)}` })],
    [
      '15 000 bytes of fields',
      requestWith({ line, fields: `Host: host.test\r\nName: ${'v'.repeat(15_000)}\r\n` }),
    ],
    ['raw UTF-8 in a value', requestWith({ line, fields: 'Host: host.test\r\nUser-Agent: jürgen\r\n' })],
  ];
  for (const [what, request] of requests) {
    await t.test(what, async (t) => {
      const answer = await exchange(t, proxy, request);
      t.match(answer.text, /^HTTP\/1\.1 200 Connection established\r\nSpliceway-Tunnel-Id: [0-9a-f]{16}$/);
      t.equal(answer.rest.length, 0, 'and no body');
      answer.socket.destroy();
      (await peer.next()).destroy();
    });
  }
});
