import t from 'tap';
import { playParent } from './fixtures/parents.js';
import { AUTHORIZATION, startProxy } from './fixtures/proxy.js';
import { connectHead, connectRaw, exchange, readHead } from './fixtures/sockets.js';

const GET = `GET http://a.example/path HTTP/1.1\r\nHost: a.example\r\n${AUTHORIZATION}\r\n`;

t.test('a request that a parent fails is answered in words about the parent', async (t) => {
  const parent = await playParent(t);
  const proxy = await startProxy(t, [
    ...['--allow', 'a.example:80', '--idle-timeout', '2s'],
    ...['--parent', parent.url.replace('//', '//us:our-secret@')],
  ]);
  for (const { says, status, reason, words } of [
    {
      says: 'HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic realm="parent"\r\nContent-Length: 0\r\n\r\n',
      status: 502,
      reason: 'parent_credentials_rejected',
      words: 'answered 407 Who are you',
    },
    {
      says: '\x05\xff\r\n\r\n',
      status: 502,
      reason: 'parent_protocol_error',
      words: 'does not answer in HTTP',
    },
    { says: '', status: 502, reason: 'parent_protocol_error', words: 'closed the connection before it' },
    { says: undefined, status: 504, reason: 'parent_timeout', words: 'did not answer in time' },
  ]) {
    const client = await connectRaw(t, proxy);
    client.write(GET);
    const { socket, head } = await parent.asked();
    t.match(head, /^GET http:\/\/a\.example\/path HTTP\/1\.1\r\n/);
    if (says !== undefined) socket.end(Buffer.from(says, 'latin1'));
    const answer = await readHead(client);
    t.equal(answer.status, status, answer.text);
    t.match(answer.phrase, `${reason}: ${parent.url}`);
    t.match(answer.phrase, words);
    t.notOk('proxy-authenticate' in answer.headers);
    t.notMatch(answer.text, 'our-secret');
    const id = answer.headers['spliceway-tunnel-id'];
    const close = await proxy.until(({ event, tunnel }) => event === 'close' && tunnel === id);
    t.match(close, { reason, parentsFailed: [`${parent.url} ${reason}`], parent: undefined });
    t.ok(
      (await proxy.metric(`spliceway_parent_dials_total{parent="${parent.url}",result="${reason}"}`)) >= 1,
    );
  }
});

t.test('localhost through a parent is denied where one of its addresses is', async (t) => {
  const parent = await playParent(t);
  const denying = await startProxy(t, [
    ...['--deny', '127.0.0.0/8:9999', '--allow', '[::1]:9999', '--allow', 'localhost:9999'],
    ...['--parent', parent.url],
  ]);
  const { status, phrase } = await exchange(t, denying, connectHead('localhost:9999'));
  t.equal(status, 403);
  t.match(phrase, 'destination_denied: localhost:9999 (127.0.0.1) matches deny rule 127.0.0.0/8:9999');
});
