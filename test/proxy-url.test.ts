import t, { type Test } from 'tap';
import { readProxyUrl, writeProxyUrl } from '../src/commands/mtc/proxy-url.js';
import { GOOD, TRAPS } from './fixtures/proxy-urls.js';

t.test('a value that all of the way read as it was meant is read as Go reads it', async (t) => {
  for (const [value, go] of GOOD) {
    const read = readProxyUrl(value);
    if ('problem' in read) t.fail(`${value}: ${read.problem}`);
    else t.same([`${read.host}:${read.port}`, read.username, read.password], go, value);
  }
});

t.test('a value that somebody on the way reads otherwise is a trap, with its fix', async (t) => {
  for (const [value, go, problem, fix] of TRAPS) {
    const read = readProxyUrl(value);
    t.match(read, { problem, fix }, JSON.stringify(value));
    const says = 'problem' in read ? `${read.problem} ${read.fix}` : '';
    // The controller says so itself where it cannot parse; otherwise nobody does.
    if (go === 'error') t.match(says, /parse|YAML|template|look it up/, JSON.stringify(value));
    if (value.includes('@')) t.notOk(says.includes(value), 'the value is not said: it holds a password');
  }
});

const HOST = { host: 'proxy.example', port: 3128 };

/** What is written for these is read as the same. */
function checkRoundTrip(t: Test, username: string, password: string): void {
  const written = writeProxyUrl({ ...HOST, username, password });
  const url = 'url' in written ? written.url : written.problem;
  t.same(readProxyUrl(url), { ...HOST, username, password }, url);
}

t.test('credentials of every printable character, and of UTF-8, come back as they were', async (t) => {
  for (let code = 0x21; code <= 0x7e; code += 1) {
    const character = String.fromCharCode(code);
    checkRoundTrip(t, 'u', `${character}x${character}`);
    if (character !== ':') checkRoundTrip(t, `${character}x${character}`, 'p');
  }
  for (const password of ['a b', 'ä', '€', '😀', '\u00a0x\u00a0', '%41', '{{ x }}', 'x'.repeat(3000)])
    checkRoundTrip(t, 'ü', password);
  checkRoundTrip(t, '', '');
});

t.test('nothing but unreserved characters and escapes stands in what is written', async (t) => {
  const every = String.fromCharCode(...Array.from({ length: 0x5e }, (_, at) => 0x21 + at));
  const written = writeProxyUrl({ ...HOST, username: 'u', password: `${every} ä` });
  t.match(written, { url: /^http:\/\/u:(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})*@proxy\.example:3128$/ });
});

t.test('credentials and hosts that cannot be said are told, with what to do', async (t) => {
  const impossible = [
    [{ username: 'u:v' }, /colon in the user name/],
    [{ username: ' u' }, /drops blanks/],
    [{ password: 'p ' }, /drops blanks/],
    [{ password: 'p\nTIMEOUTidle = 1' }, /options of its own/],
    [{ password: 'p\tq' }, /control character/],
    [{ password: 'p\u2028q' }, /control character/],
    [{ password: '' }, /no credentials at all/],
    [{ username: '' }, /no credentials at all/],
    [{ password: '\ud800' }, /UTF-8/],
    [{ password: 'x'.repeat(3066) }, /3066 bytes/],
    [{ host: '2001:db8::1' }, /IPv6/],
    [{ host: '' }, /host/],
    [{ port: 0 }, /port/],
  ] as const;
  for (const [parts, problem] of impossible)
    t.match(
      writeProxyUrl({ ...HOST, username: 'u', password: 'p', ...parts }),
      { problem, fix: /./ },
      String(problem),
    );
});
