import t from 'tap';
import type { Reason } from '../src/reasons.js';
import { LOOPBACK, requestFor } from './fixtures/forwarding.js';
import { startProxy } from './fixtures/proxy.js';
import { checkRefusal, checkRefusalMetrics } from './fixtures/refusals.js';

/** Stands where it must not be repeated. */
const SECRET = 'hunter2';

const BAD: readonly (readonly [url: string, reason: Reason, says?: RegExp])[] = [
  [`http://user:${SECRET}@host.test/`, 'target_invalid', /user information/],
  [`http://${SECRET}@host.test/`, 'target_invalid', /user information/],
  [`http://@host.test/${SECRET}`, 'target_invalid'],
  [`http://user:${SECRET}/${SECRET}@host.test/`, 'target_invalid'],
  [`http://host.test:80@other.test/?${SECRET}`, 'target_invalid'],
  [`http://host.test\\@other.test/${SECRET}`, 'target_invalid'],
  [`ftp://host.test/${SECRET}`, 'target_invalid', /only http/],
  [`https://host.test/${SECRET}`, 'target_invalid', /CONNECT/],
  [`wss://host.test/?${SECRET}`, 'target_invalid', /only http/],
  [`file:///${SECRET}`, 'target_invalid'],
  [`http:///${SECRET}`, 'target_invalid', /no host/],
  [`http://?${SECRET}`, 'target_invalid'],
  [`http://:80/${SECRET}`, 'target_invalid'],
  [`http://host.test:0/${SECRET}`, 'target_invalid', /port/],
  [`http://host.test:65536/${SECRET}`, 'target_invalid', /port/],
  [`http://host.test:+80/${SECRET}`, 'target_invalid'],
  [`http://host.test:0080/${SECRET}`, 'target_invalid', /port/],
  [`http://host.test:80:80/${SECRET}`, 'target_invalid'],
  [`http://host.test:http/${SECRET}`, 'target_invalid'],
  [`http://host.test/#${SECRET}`, 'target_invalid'],
  [`http://host.test#${SECRET}`, 'target_invalid'],
  [`http://[::1/${SECRET}`, 'target_invalid'],
  [`http://[::1]x/${SECRET}`, 'target_invalid'],
  [`http://[fe80::1%25eth0]/${SECRET}`, 'target_invalid'],
  [`http://[host.test]/${SECRET}`, 'target_invalid'],
  [`http://::1/${SECRET}`, 'target_invalid'],
  [`http://127.1/${SECRET}`, 'target_invalid'],
  [`http://0x7f000001/${SECRET}`, 'target_invalid'],
  [`http://2130706433/${SECRET}`, 'target_invalid'],
  [`http://ho%73t.test/${SECRET}`, 'target_invalid'],
  [`http://h\xf6st.test/${SECRET}`, 'target_invalid'],
  [`http://host..test/${SECRET}`, 'target_invalid'],
  [`http://host.test,other.test/${SECRET}`, 'target_invalid'],
  [`http://${'x'.repeat(64)}.test/${SECRET}`, 'target_invalid'],
  [`http:/host.test/${SECRET}`, 'target_invalid'],
  [`http:host.test/${SECRET}`, 'target_invalid'],
  [`//host.test/${SECRET}`, 'method_not_allowed'],
  [`/${SECRET}`, 'method_not_allowed'],
  [`http://host.test/${'x'.repeat(8200)}${SECRET}`, 'uri_too_long'],
  [`http://host.test/${'x'.repeat(17_000)}${SECRET}`, 'uri_too_long'],
];

t.test(
  'a URL that cannot be forwarded is refused, and what may be a secret in it is not repeated',
  async (t) => {
    const proxy = await startProxy(t, [...LOOPBACK, '--allow', '*.test:*', '--log-level', 'trace']);
    const texts: string[] = [];
    for (const [url, reason, says] of BAD) {
      for (const method of ['GET', 'POST']) {
        const status =
          { target_invalid: 400, method_not_allowed: 405, uri_too_long: 414 }[reason as string] ?? 400;
        await t.test(`${method} ${url.slice(0, 60)}`, async (t) => {
          const expected = { status, reason, ...(says === undefined ? {} : { says }) };
          texts.push((await checkRefusal(t, proxy, requestFor(url, { method }), expected)).text);
        });
      }
    }
    // Nor where the URL is right and something else is not.
    const right = `http://host.test:1/${SECRET}?${SECRET}`;
    for (const [request, status, reason] of [
      [requestFor(right), 502, 'dns_error'],
      [requestFor(right).replace(/Basic \S+/, 'Basic YTpi'), 407, 'credentials_rejected'],
      [requestFor(right, { fields: 'A : b\r\n' }), 400, 'http_request_error'],
      [requestFor(right, { fields: 'Transfer-Encoding: gzip\r\n' }), 400, 'http_request_error'],
      [requestFor(`http://127.0.0.1:1/${SECRET}`), 502, 'connection_refused'],
    ] as const)
      texts.push((await checkRefusal(t, proxy, request, { status, reason })).text);
    await checkRefusalMetrics(t, proxy);
    texts.push(JSON.stringify(proxy.log), (await proxy.page('/metrics')).body, proxy.stdout());
    t.same(
      texts.filter((text) => text.includes(SECRET)),
      [],
    );
  },
);

t.test('a request line that is long but not too long is told from a header that is too large', async (t) => {
  const proxy = await startProxy(t);
  const url = `http://host.test/${'x'.repeat(8000)}`;
  const fields = `A: ${'b'.repeat(12_000)}\r\n`;
  await checkRefusal(t, proxy, requestFor(url, { fields }), { status: 431, reason: 'header_too_large' });
  const many = 'A: b\r\n'.repeat(99);
  await checkRefusal(t, proxy, requestFor(url, { fields: many }), {
    status: 431,
    reason: 'header_too_large',
  });
});
