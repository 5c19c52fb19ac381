import t from 'tap';
import type { Reason } from '../src/reasons.js';
import { AUTHORIZATION, startProxy } from './fixtures/proxy.js';
import { checkRefusal, checkRefusalMetrics, refusalOf } from './fixtures/refusals.js';
import { requestWith, withField } from './fixtures/requests.js';

/** In latin1, so that every byte can be written down. */
const BAD_REQUESTS: readonly (readonly [
  what: string,
  request: string,
  status: number,
  reason: Reason,
  says: RegExp,
])[] = [
  // RFC 9112 §3.2.
  [
    'no Host',
    requestWith({ fields: '' }),
    400,
    'http_request_error',
    /the Host header is missing; send Host/,
  ],
  ['two Hosts', withField('Host: host.test:443'), 400, 'http_request_error', /more than one Host/],
  ['two Hosts, in two cases', withField('hOST: other.test'), 400, 'http_request_error', /more than one Host/],
  // RFC 9112 §5.
  ['a space before the colon', withField('Name : value'), 400, 'http_request_error', /does not parse/],
  ['a tab before the colon', withField('Name\t: value'), 400, 'http_request_error', /does not parse/],
  ['a folded value', withField('Name: value\r\n more'), 400, 'http_request_error', /does not parse/],
  [
    'a value folded by a tab',
    withField('Name: value\r\n\tmore'),
    400,
    'http_request_error',
    /does not parse/,
  ],
  [
    'a space before the first field',
    requestWith({ fields: ' Host: host.test\r\n' }),
    400,
    'http_request_error',
    /does not parse/,
  ],
  ['a bare CR in a value', withField('Name: val\rue'), 400, 'http_request_error', /does not parse/],
  [
    'a bare LF behind a value',
    requestWith({ fields: 'Host: host.test:443\nName: value\r\n' }),
    400,
    'http_request_error',
    /does not parse/,
  ],
  [
    'a bare LF behind the request line',
    requestWith().replace('\r\n', '\n'),
    400,
    'http_request_error',
    /does not parse/,
  ],
  ['NUL in a value', withField('Name: val\0ue'), 400, 'http_request_error', /does not parse/],
  [
    'a control character in a value',
    withField('Name: val\x01ue'),
    400,
    'http_request_error',
    /does not parse/,
  ],
  ['ESC in a value', withField('Name: val\x1b[31mue'), 400, 'http_request_error', /does not parse/],
  ['DEL in a value', withField('Name: val\x7fue'), 400, 'http_request_error', /does not parse/],
  ['an empty name', withField(': value'), 400, 'http_request_error', /does not parse/],
  ['a name that is no token', withField('Na(me: value'), 400, 'http_request_error', /does not parse/],
  [
    'a name with a byte above ASCII',
    withField('Na\xe9me: value'),
    400,
    'http_request_error',
    /does not parse/,
  ],
  ['a line without colon', withField('Name'), 400, 'http_request_error', /does not parse/],
  // RFC 9110 §9.3.6: CONNECT has no content.
  [
    'Content-Length: 5',
    withField('Content-Length: 5'),
    400,
    'http_request_error',
    /no content; drop Content-Length/,
  ],
  [
    'Content-Length twice',
    withField('Content-Length: 0\r\nContent-Length: 0'),
    400,
    'http_request_error',
    /does not parse/,
  ],
  ['Content-Length: -1', withField('Content-Length: -1'), 400, 'http_request_error', /does not parse/],
  [
    'chunked',
    withField('Transfer-Encoding: chunked'),
    400,
    'http_request_error',
    /no content; drop Transfer-Encoding/,
  ],
  [
    'identity',
    withField('Transfer-Encoding: identity'),
    400,
    'http_request_error',
    /no content; drop Transfer-Encoding/,
  ],
  [
    'chunked and a length',
    withField('Transfer-Encoding: chunked\r\nContent-Length: 0'),
    400,
    'http_request_error',
    /does not parse|drop/,
  ],
  // The request line.
  [
    'connect in lower case',
    requestWith({ method: 'connect' }),
    501,
    'method_unknown',
    /connect is unknown; send CONNECT in upper case/,
  ],
  [
    'a method nobody knows',
    requestWith({ method: 'BREW', line: '/ HTTP/1.1' }),
    501,
    'method_unknown',
    /BREW is unknown/,
  ],
  [
    'a method of 3000 letters',
    requestWith({ method: 'B'.repeat(3000) }),
    501,
    'method_unknown',
    /the method B{32} is unknown/,
  ],
  ...['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'PATCH'].map(
    (method) =>
      [
        `${method} of a path`,
        requestWith({ method, line: '/ HTTP/1.1' }),
        405,
        'method_not_allowed',
        new RegExp(`${method} is served for http:// URLs only`),
      ] as const,
  ),
  [
    'GET of a URL with the scheme https',
    requestWith({ method: 'GET', line: 'https://host.test/secret HTTP/1.1' }),
    400,
    'target_invalid',
    /"https:\/\/host\.test\/" is no target: https goes through CONNECT host:port; write http:\/\//,
  ],
  ['GET without Host', 'GET / HTTP/1.0\r\n\r\n', 405, 'method_not_allowed', /for http:\/\/ URLs only/],
  [
    'OPTIONS of everything',
    requestWith({ method: 'OPTIONS', line: '* HTTP/1.1' }),
    405,
    'method_not_allowed',
    /for http:\/\/ URLs only/,
  ],
  [
    'HTTP/2.0',
    requestWith({ line: 'host.test:443 HTTP/2.0' }),
    400,
    'http_request_error',
    /the HTTP version is 2.0; send HTTP\/1.1/,
  ],
  [
    'HTTP/0.9',
    requestWith({ line: 'host.test:443 HTTP/0.9' }),
    400,
    'http_request_error',
    /the HTTP version is 0.9; send HTTP\/1.1/,
  ],
  [
    'no version',
    requestWith({ line: 'host.test:443' }),
    400,
    'http_request_error',
    /the HTTP version is 0.9; send HTTP\/1.1/,
  ],
  ['no target', requestWith({ line: ' HTTP/1.1' }), 400, 'http_request_error', /HTTP/],
  ...['HTTP/1.2', 'HTTP/3.0', 'HTTP/1', 'HTTP/1.10', 'HTTP/11', 'http/1.1', 'HTTX/1.1', 'HTTP/1.1 more'].map(
    (version) =>
      [
        version,
        requestWith({ line: `host.test:443 ${version}` }),
        400,
        'http_request_error',
        /does not parse/,
      ] as const,
  ),
  [
    'tabs instead of spaces',
    requestWith().replaceAll(' ', '\t'),
    400,
    'not_http',
    /what arrived is not HTTP/,
  ],
  // Before who asks is looked at.
  [
    'two Proxy-Authorization headers',
    withField(AUTHORIZATION.trim()),
    400,
    'http_request_error',
    /more than one Proxy-Authorization/,
  ],
];

t.test('a request that is not a valid CONNECT is refused, and the answer says why', async (t) => {
  const proxy = await startProxy(t);
  for (const [what, request, status, reason, says] of BAD_REQUESTS) {
    await t.test(what, (t) => checkRefusal(t, proxy, request, { status, reason, says }));
  }
  await t.test('each is counted', (t) => checkRefusalMetrics(t, proxy));
});

t.test('Expect never gets a 1xx', async (t) => {
  const proxy = await startProxy(t);
  for (const method of ['CONNECT', 'POST']) {
    for (const expectation of ['100-continue', '200-ok']) {
      const line = method === 'POST' ? 'http://host.test/ HTTP/1.1' : 'host.test:9 HTTP/1.1';
      const fields = `Host: host.test\r\nExpect: ${expectation}\r\n`;
      const length = method === 'POST' ? 'Content-Length: 5\r\n' : '';
      const { text } = await refusalOf(t, proxy, requestWith({ method, line, fields: fields + length }));
      t.match(text, /^HTTP\/1\.1 403 /);
      t.equal(text.match(/^HTTP\/1\.1 /gm)?.length, 1, 'one status line');
    }
  }
});
