import t from 'tap';
import { banner } from '../src/config/banner.js';
import { loadConfig } from '../src/config/load.js';
import { credentialsOf } from '../src/config/options.js';
import { SERVE } from '../src/config/tables.js';
import { streamEngine } from '../src/relay/stream.js';

/** What a start with these options prints. */
function printed(
  addresses: readonly string[],
  options: { readonly flags?: readonly string[]; readonly adminAddress?: string } = {},
): string {
  const { config } = loadConfig(SERVE, options.flags ?? ['--user', 'ann:hunter2'], {});
  return banner({
    version: '1.2.3',
    config,
    credentials: credentialsOf(config),
    invented: undefined,
    picked: {
      engine: streamEngine,
      absent: [{ name: 'splice', why: 'not on this machine' }],
    },
    addresses,
    adminAddress: options.adminAddress,
  });
}

t.test(
  'the stunnel line has an address that may be reached from elsewhere, where there is one',
  async (t) => {
    for (const [addresses, line, remark] of [
      [['10.0.0.5:3128'], 'http://ann:PASSWORD@10.0.0.5:3128', /with another address where/],
      [
        ['127.0.0.1:3128', '10.0.0.5:3129'],
        'http://ann:PASSWORD@10.0.0.5:3129',
        /with another address where/,
      ],
      [['[2001:db8::1]:3128', '10.0.0.5:3129'], 'http://ann:PASSWORD@10.0.0.5:3129', /with another address/],
      [['0.0.0.0:3128'], /http:\/\/ann:PASSWORD@(?!0\.0)[0-9.]+:3128$/, /with another address where/],
      [['[::]:3128'], /http:\/\/ann:PASSWORD@[0-9.]+:3128$/, /with another address where/],
      [['[2001:db8::1]:3128'], 'http://ann:PASSWORD@[2001:db8::1]:3128', /a name that has an AAAA record/],
      [['127.0.0.1:3128'], 'http://ann:PASSWORD@127.0.0.1:3128', /no pod reaches a listener on loopback/],
      [['[::1]:3128'], 'http://ann:PASSWORD@[::1]:3128', /no pod reaches a listener on loopback/],
    ] as const) {
      const text = printed(addresses);
      const [, setting] = /^ {2}stunnel_tcp_proxy: (.*)$/m.exec(text) ?? [];
      t.match(setting, line, addresses.join(' '));
      t.match(text, remark);
    }
  },
);

t.test('the curl line is for this machine', async (t) => {
  t.match(
    printed(['0.0.0.0:3128']),
    /^ {2}curl --proxy http:\/\/ann:PASSWORD@127\.0\.0\.1:3128 https:\/\/example\.com\/$/m,
  );
  t.match(printed(['[::]:3128']), 'curl --proxy http://ann:PASSWORD@127.0.0.1:3128 ');
  t.match(printed(['[::1]:3128']), 'curl --proxy http://ann:PASSWORD@[::1]:3128 ');
});

t.test('a configured password is never shown, and a name as URLs want it', async (t) => {
  const text = printed(['10.0.0.5:3128'], { flags: ['--user', 'a@b/c d:hunter2', '--user', 'bob:hunter2'] });
  t.match(text, 'http://a%40b%2Fc%20d:PASSWORD@10.0.0.5:3128');
  t.match(text, 'credentials    2 configured');
  t.notMatch(text, 'hunter2');
});

t.test('what the options came to is told', async (t) => {
  const open = printed(['127.0.0.1:3128'], { flags: ['--no-auth', '--listen', '127.0.0.1:3128'] });
  t.match(open, 'stunnel_tcp_proxy: http://127.0.0.1:3128\n');
  t.match(open, 'credentials    none asked for (--no-auth)');
  t.match(
    open,
    'destinations   every host at ports 443 and 6443, no special-purpose address; narrow it with --allow',
  );
  t.notMatch(open, 'denied');
  t.match(open, /^metrics {8}off$/m);
  t.match(open, 'relay engine   stream (splice is absent: not on this machine)');

  const narrow = printed(['10.0.0.5:3128', '[::1]:3129'], {
    flags: ['--allow', 'dvm-*.apps.target.example:443', '--allow', '10.0.0.0/8', '--deny', '10.1.0.0/16:*'],
    adminAddress: '[::1]:9128',
  });
  t.match(narrow, /^listening {6}10\.0\.0\.5:3128\nlistening {6}\[::1\]:3129$/m);
  t.match(narrow, 'destinations   only dvm-*.apps.target.example:443 10.0.0.0/8\n');
  t.match(narrow, 'denied         10.1.0.0/16:*\n');
  t.match(narrow, 'https://AN-ALLOWED-HOST/');
  t.match(narrow, 'metrics        http://[::1]:9128/metrics');
});
