import t from 'tap';

import { type Generation, stunnelClientConfiguration } from '../../src/commands/mtc/configurations.js';

const filledIn = {
  accept: '6443',
  proxy: '10.0.0.5:3128',
  target: 'dvm-a.apps.target.example:443',
  username: 'migration',
  password: 'secret',
  certificateFile: '/etc/stunnel/certs/tls.crt',
  keyFile: '/etc/stunnel/certs/tls.key',
};

const proxied = `protocol = connect
connect = 10.0.0.5:3128
protocolHost = dvm-a.apps.target.example:443
protocolUsername = migration
protocolPassword = secret
`;

const EXPECTED = {
  '1.4': `foreground = yes
pid =
sslVersion = TLSv1.2
client = yes
syslog = no
[rsync]
accept = 6443
CAFile = /etc/stunnel/certs/tls.crt
cert = /etc/stunnel/certs/tls.crt
${proxied}verify = 2
key = /etc/stunnel/certs/tls.key
debug = 7
`,
  '1.5': `pid =
sslVersion = TLSv1.2
client = yes
syslog = no
output = /dev/stdout
[rsync]
accept = 6443
CAFile = /etc/stunnel/certs/tls.crt
cert = /etc/stunnel/certs/tls.crt
${proxied}verify = 2
key = /etc/stunnel/certs/tls.key
debug = 7
`,
  '1.6': `pid =
sslVersion = TLSv1.2
client = yes
syslog = no
output = /dev/stdout
[rsync]
debug = 7
accept = 6443
cert = /etc/stunnel/certs/tls.crt
key = /etc/stunnel/certs/tls.key
${proxied}`,
  crane: `pid =
sslVersion = TLSv1.3
client = yes
syslog = no
output = /dev/stdout
key = /etc/stunnel/certs/tls.key
cert = /etc/stunnel/certs/tls.crt
CAfile = /etc/stunnel/certs/tls.crt
verify = 2
[transfer]
debug = 7
accept = 6443
${proxied}`,
} satisfies Record<Generation, string>;

t.test('the client is configured as each toolkit does it', async (t) => {
  for (const generation of ['1.4', '1.5', '1.6', 'crane'] as const) {
    t.equal(stunnelClientConfiguration({ ...filledIn, generation }), EXPECTED[generation], generation);
  }
});

t.test('as in MTC, user name and password are left out when they are empty', async (t) => {
  const said = stunnelClientConfiguration({ ...filledIn, generation: '1.6', username: '', password: '' });
  t.equal(said, EXPECTED['1.6'].replace(/^protocol(?:Username|Password).*\n/gm, ''));
});
