import t from 'tap';
import type { Reason } from '../src/reasons.js';
import { startProxy } from './fixtures/proxy.js';
import { checkRefusal, checkRefusalMetrics } from './fixtures/refusals.js';
import { requestWith, withField } from './fixtures/requests.js';

const TOO_LARGE: readonly (readonly [
  what: string,
  request: string,
  status: number,
  reason: Reason,
  says: RegExp,
])[] = [
  [
    'a target of 3000 bytes',
    requestWith({ line: `${'h'.repeat(2996)}:443 HTTP/1.1` }),
    414,
    'uri_too_long',
    /too long/,
  ],
  [
    'a request line of 20 000 bytes',
    requestWith({ line: `${'h'.repeat(20_000)}:443 HTTP/1.1` }),
    414,
    'uri_too_long',
    /too long/,
  ],
  [
    'a request line of 20 000 bytes behind empty lines',
    `\r\n\r\n${requestWith({ line: 'h'.repeat(20_000) })}`,
    414,
    'uri_too_long',
    /too long/,
  ],
  [
    'a value of 20 000 bytes',
    withField(`Name: ${'v'.repeat(20_000)}`),
    431,
    'header_too_large',
    /header block is too large/,
  ],
  [
    'a name of 20 000 bytes',
    withField(`${'n'.repeat(20_000)}: value`),
    431,
    'header_too_large',
    /header block is too large/,
  ],
  [
    '50 values of 400 bytes',
    withField(`Name: ${'v'.repeat(400)}\r\n`.repeat(50).trim()),
    431,
    'header_too_large',
    /header block is too large/,
  ],
  [
    '101 fields',
    withField('N: v\r\n'.repeat(99).trim()),
    431,
    'header_too_large',
    /more than 100 header fields/,
  ],
  [
    '1000 fields',
    withField('N: v\r\n'.repeat(1000).trim()),
    431,
    'header_too_large',
    /more than 100 header fields/,
  ],
];

t.test('a request that is too large is refused, and the answer says what of it', async (t) => {
  const proxy = await startProxy(t);
  for (const [what, request, status, reason, says] of TOO_LARGE) {
    await t.test(what, (t) => checkRefusal(t, proxy, request, { status, reason, says }));
    // The last segment alone does not show what it is that is too long.
    await t.test(`${what}, in many segments`, async (t) => {
      const segments = Array.from({ length: Math.ceil(request.length / 1000) }, (_, i) =>
        request.slice(i * 1000, (i + 1) * 1000),
      );
      await checkRefusal(t, proxy, segments, { status, reason, says });
    });
  }
  await t.test('each is counted', (t) => checkRefusalMetrics(t, proxy));
});
