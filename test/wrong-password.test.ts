import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import t, { type Test } from 'tap';
import { basicAuthenticator } from '../src/access/credentials.js';
import { createFailureThrottle } from '../src/access/limits.js';
import { outcomeOf } from './fixtures/policy.js';
import { PASSWORD, type RunningProxy, startProxy, USER } from './fixtures/proxy.js';
import { checkRefusal, checkRefusalMetrics, refusalOf } from './fixtures/refusals.js';
import { exchange, listenOn, type Peer } from './fixtures/sockets.js';

const OTHERS = [
  'colons:pass:with::colons:',
  'jürgen:pässwörd€😀',
  'space: leading and trailing ',
  'rotated:old',
  'rotated:new',
];
const FLAGS = [
  '--allow',
  '127.0.0.0/8:*',
  '--log-level',
  'trace',
  ...OTHERS.flatMap((user) => ['--user', user]),
];

t.test('what is no pair of user and password is refused', async (t) => {
  const proxy = await startProxy(t, FLAGS);
  const wrong: readonly (readonly [
    what: string,
    value: string | undefined,
    reason: 'missing' | 'malformed',
  ])[] = [
    ['no header', undefined, 'missing'],
    ['an empty header', '', 'missing'],
    ['blanks', '   ', 'missing'],
    ['the scheme alone', 'Basic', 'malformed'],
    ['the scheme and a blank', 'Basic ', 'malformed'],
    ['not base64', 'Basic !!!', 'malformed'],
    ['two words', `Basic ${base64('a:b')} ${base64('c:d')}`, 'malformed'],
    ['a parameter', `Basic ${base64('a:b')}, realm="x"`, 'malformed'],
    ['padding in the middle', 'Basic YTpi=YTpi', 'malformed'],
    ['no colon', `Basic ${base64(USER)}`, 'malformed'],
    ['a line feed in the password', `Basic ${base64(`${USER}:${PASSWORD}\n`)}`, 'malformed'],
    ['no scheme', base64(`${USER}:${PASSWORD}`), 'malformed'],
    ['Basi', `Basi ${base64(`${USER}:${PASSWORD}`)}`, 'malformed'],
    ['Basicc', `Basicc ${base64(`${USER}:${PASSWORD}`)}`, 'malformed'],
    ['Bearer', `Bearer ${base64(`${USER}:${PASSWORD}`)}`, 'malformed'],
    ['Digest', `Digest username="${USER}", realm="spliceway", nonce="", uri="", response=""`, 'malformed'],
    ['Negotiate', 'Negotiate YIIJvwYGKwYBBQUCoIIJszCCCa8=', 'malformed'],
    ['NTLM', 'NTLM TlRMTVNTUAABAAAABoIIAAAAAAAAAAAAAAAAAAAAAAA=', 'malformed'],
    ['4097 bytes', `Basic ${'A'.repeat(4091)}`, 'malformed'],
    ['14 000 bytes', `Basic ${'A'.repeat(14_000)}`, 'malformed'],
  ];
  for (const [what, value, reason] of wrong) {
    await t.test(what, async (t) => {
      await checkRefusal(t, proxy, request(value), { status: 407, reason: `credentials_${reason}` });
    });
  }
  await t.test('two headers, though both are right', async (t) => {
    const twice = request(basic(`${USER}:${PASSWORD}`)).replace(/^Proxy-.*\r\n/m, '$&$&');
    await checkRefusal(t, proxy, twice, {
      status: 400,
      reason: 'http_request_error',
      says: /Proxy-Authorization/,
    });
  });
  await checkRefusalMetrics(t, proxy);
});

t.test('every way to write the right pair is accepted', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, FLAGS);
  const pair = base64(`${USER}:${PASSWORD}`);
  const right = [
    `Basic ${pair}`,
    `basic ${pair}`,
    `BASIC ${pair}`,
    `bAsIc ${pair}`,
    `Basic     ${pair}`,
    `Basic ${pair}   `,
    `\t Basic ${pair}`,
    ...OTHERS.map(basic),
  ];
  for (const value of right) {
    await t.test(JSON.stringify(value), (t) => checkPasses(t, proxy, peer, value));
  }
});

t.test('an unknown user and a wrong password get the same answer and the same record', async (t) => {
  const proxy = await startProxy(t, FLAGS);
  const pairs = [
    `${USER}:wrong`,
    'nobody:wrong',
    `nobody:${PASSWORD}`,
    `${USER}:`,
    `:${PASSWORD}`,
    ':',
    `${USER}x:${PASSWORD}`,
    `${USER}:${PASSWORD}x`,
    `${USER.toUpperCase()}:${PASSWORD}`,
    'rotated:older',
    'jürgen:pässwörd€',
    'constructor:',
    '__proto__:',
  ];
  const answers = new Set<string>();
  const records = new Set<string>();
  for (const pair of pairs) {
    const refusal = await checkRefusal(t, proxy, request(basic(pair)), {
      status: 407,
      reason: 'credentials_rejected',
    });
    const id = refusal.headers.get('spliceway-tunnel-id') ?? '';
    answers.add(refusal.text.replaceAll(id, 'ID'));
    const record = proxy.log.find(({ tunnel }) => tunnel === id);
    records.add(JSON.stringify({ ...record, tunnel: '', time: '', client: '' }));
  }
  t.equal(answers.size, 1, 'byte for byte, but for the id');
  t.equal(records.size, 1, 'in the log as well');
});

t.test('an unknown user is as much work as a wrong password', async (t) => {
  const authenticator = basicAuthenticator(
    [{ name: USER, password: PASSWORD }],
    createFailureThrottle({ allowance: Number.POSITIVE_INFINITY }),
  );
  const worked = watchCryptography(t);
  const works = [`${USER}:wrong`, `n${USER.slice(1)}:wrong`].map((pair) => {
    t.match(
      outcomeOf(() => `${authenticator.authenticate(basic(pair)).user} is let in`),
      { reason: 'credentials_rejected' },
    );
    return worked.splice(0);
  });
  t.same(
    works[0]?.slice(0, 2),
    ['sha256 of 5', 'comparison of 32'],
    'the password is hashed, and hashes are compared',
  );
  t.same(works[1], works[0], 'of either');
});

t.test('guessing is throttled for the name that is guessed at, and for nobody else', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, FLAGS);
  const rejected = { status: 407, reason: 'credentials_rejected' } as const;
  const throttled = { status: 429, reason: 'credentials_throttled' } as const;
  for (const name of [USER, 'nobody']) {
    await t.test(name, async (t) => {
      for (let i = 0; i < 10; i += 1) await checkRefusal(t, proxy, request(basic(`${name}:${i}`)), rejected);
      for (let i = 0; i < 3; i += 1) {
        const refusal = await checkRefusal(t, proxy, request(basic(`${name}:${i}`)), throttled);
        const seconds = Number(refusal.headers.get('retry-after'));
        t.ok(seconds >= 1 && seconds <= 60, 'within the minute');
      }
    });
  }
  await t.test('the right password', (t) => checkPasses(t, proxy, peer, basic(`${USER}:${PASSWORD}`)));
  await t.test('another user', (t) => checkPasses(t, proxy, peer, basic('rotated:new')));
  await checkRefusal(t, proxy, request(basic('rotated:wrong')), rejected);
  await checkRefusal(t, proxy, request(basic(`${USER}:wrong`)), throttled);
  await checkRefusalMetrics(t, proxy);
});

t.test('the throttle forgets after its window, and has bounds', async (t) => {
  let nowMs = 0;
  const throttle = createFailureThrottle({ allowance: 2, windowMs: 10_000, maxNames: 3, now: () => nowMs });
  t.same([throttle.failed('a'), throttle.failed('a'), throttle.failed('a')], [0, 0, 10]);
  nowMs = 9001;
  t.equal(throttle.failed('a'), 1, 'the rest of the window, rounded up');
  nowMs = 10_000;
  t.same([throttle.failed('a'), throttle.failed('a'), throttle.failed('a')], [0, 0, 10], 'a new window');
  throttle.failed('b');
  throttle.failed('c');
  t.equal(throttle.failed('a'), 10, 'seen again, so not the longest unseen');
  throttle.failed('d');
  t.equal(throttle.failed('a'), 10);
  throttle.failed('e');
  throttle.failed('f');
  throttle.failed('g');
  t.equal(throttle.failed('a'), 0, 'forgotten for those that came later');
});

t.test('no secret is in an answer, in the log, on standard output or in the metrics', async (t) => {
  const peer = await listenOn(t);
  const proxy = await startProxy(t, FLAGS);
  const secrets = [PASSWORD, 'with::colons', 'pässwörd', 'guessed-in-vain', 'put-into-the-target'];
  const seen: string[] = [];
  const keep = async (bytes: string) => seen.push((await refusalOf(t, proxy, bytes)).text);
  await checkPasses(t, proxy, peer, basic(`${USER}:${PASSWORD}`));
  for (const user of OTHERS) await checkPasses(t, proxy, peer, basic(user));
  for (let i = 0; i < 12; i += 1) await keep(request(basic(`${USER}:guessed-in-vain`)));
  await keep(request(basic('guessed-in-vain')));
  await keep(request(`Bearer ${PASSWORD}`));
  await keep(request(PASSWORD));
  await keep(request(basic(`${USER}:${PASSWORD}`), 'host.test:9'));
  await keep(request(basic(`${USER}:${PASSWORD}`), 'user:put-into-the-target@host.test:443'));
  await keep(request(basic(`${USER}:${PASSWORD}`), 'http://user:put-into-the-target@host.test:443/'));
  await keep(request(basic(`${USER}:${PASSWORD}`)).replace('CONNECT', 'GET'));
  await keep(request(basic(`${USER}:${PASSWORD}`)).replace('HTTP/1.1', 'HTTX/1.1'));
  await keep(request(basic(`${USER}:${PASSWORD}`)).replace('Proxy-Authorization:', 'Proxy-Authorization :'));
  await keep(request(basic(`${USER}:${PASSWORD}`)).replace('Basic', '\0Basic'));
  seen.push(JSON.stringify(proxy.log), proxy.stdout());
  for (const page of ['/metrics', '/ready', '/nothing']) seen.push((await proxy.page(page)).body);
  t.equal(await proxy.stop(), 0);
  seen.push(JSON.stringify(proxy.log), proxy.stdout());

  for (const secret of secrets) {
    // Also as base64, at each of its three alignments, as JSON, and as a URL.
    const forms = [
      secret,
      JSON.stringify(secret).slice(1, -1),
      encodeURIComponent(secret),
      ...base64Forms(secret),
    ];
    for (const form of forms)
      t.notOk(
        seen.some((text) => text.includes(form)),
        `not ${form}`,
      );
  }
});

function request(value: string | undefined, authority = '127.0.0.1:9'): string {
  const credentials = value === undefined ? '' : `Proxy-Authorization: ${value}\r\n`;
  return `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${credentials}\r\n`;
}

function basic(pair: string): string {
  return `Basic ${base64(pair)}`;
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

/** What a text looks like within something encoded as base64, without the letters that its neighbours have a part in. */
function base64Forms(text: string): readonly string[] {
  return ['', 'x', 'xx'].map((before) => {
    const whole = base64(before + text);
    return whole.slice(before === '' ? 0 : 4, whole.length - 4);
  });
}

async function checkPasses(t: Test, proxy: RunningProxy, peer: Peer, value: string): Promise<void> {
  const answer = await exchange(t, proxy, request(value, `127.0.0.1:${peer.port}`));
  t.equal(answer.status, 200, answer.text);
  answer.socket.destroy();
  (await peer.next()).destroy();
}

/** What is hashed and compared from here to the end of the test, in its order. */
function watchCryptography(t: Test): string[] {
  const done: string[] = [];
  const { createHash, timingSafeEqual } = crypto;
  crypto.createHash = (algorithm, options) => {
    const hash = createHash(algorithm, options);
    const update = hash.update.bind(hash);
    hash.update = (bytes: crypto.BinaryLike) => {
      done.push(`${algorithm} of ${bytes.toString().length}`);
      return update(bytes);
    };
    return hash;
  };
  crypto.timingSafeEqual = (one, other) => {
    done.push(`comparison of ${one.byteLength}`);
    return timingSafeEqual(one, other);
  };
  syncBuiltinESMExports();
  t.teardown(() => {
    Object.assign(crypto, { createHash, timingSafeEqual });
    syncBuiltinESMExports();
  });
  return done;
}
