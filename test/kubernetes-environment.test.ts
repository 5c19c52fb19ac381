import t from 'tap';
import { loadConfig } from '../src/config/load.js';
import { variableOf } from '../src/config/table.js';
import { SERVE, TABLES } from '../src/config/tables.js';
import { startProxy, USER } from './fixtures/proxy.js';

/** What kubelet adds to the environment of every pod beside a Service of this name, with these port names. */
function serviceLinks(
  service: string,
  ports: readonly (readonly [string, number])[],
): Record<string, string> {
  const prefix = service.toUpperCase().replaceAll('-', '_');
  const [[, firstPort] = ['', 0]] = ports;
  return {
    [`${prefix}_SERVICE_HOST`]: '10.96.12.7',
    [`${prefix}_SERVICE_PORT`]: String(firstPort),
    [`${prefix}_PORT`]: `tcp://10.96.12.7:${firstPort}`,
    ...Object.fromEntries(
      ports.flatMap(([name, port]) => [
        [`${prefix}_SERVICE_PORT_${name.toUpperCase().replaceAll('-', '_')}`, String(port)],
        [`${prefix}_PORT_${port}_TCP`, `tcp://10.96.12.7:${port}`],
        [`${prefix}_PORT_${port}_TCP_PROTO`, 'tcp'],
        [`${prefix}_PORT_${port}_TCP_PORT`, String(port)],
        [`${prefix}_PORT_${port}_TCP_ADDR`, '10.96.12.7'],
      ]),
    ),
  };
}

const LINKS = {
  ...serviceLinks('spliceway', [
    ['proxy', 3128],
    ['http-metrics', 9128],
  ]),
  ...serviceLinks('spliceway-admin', [['metrics', 9128]]),
  ...serviceLinks('spliceway-source-2', [['', 3128]]),
};

t.test(
  'the variables of a Service named spliceway are no options, and nothing is said of them',
  async (t) => {
    const { config, warnings } = loadConfig(SERVE, [], LINKS);
    t.same(config, loadConfig(SERVE, [], {}).config);
    t.same(warnings, []);

    const proxy = await startProxy(t, [], { env: LINKS });
    t.same(
      proxy.log.filter(({ level }) => level !== 'info'),
      [],
    );
  },
);

t.test('no option has a variable that Kubernetes could set', async (t) => {
  for (const { name } of TABLES.flatMap(({ rows }) => Object.values(rows)))
    t.notMatch(variableOf(name), /_(?:PORT|SERVICE_HOST|SERVICE_PORT|PORT_.*|SERVICE_PORT_.*)$/);
});

t.test('an unknown SPLICEWAY_ variable is warned about by name, not by value', async (t) => {
  const proxy = await startProxy(t, [], {
    env: { SPLICEWAY_IDLE_TIMOUT: 'hunter2', SPLICEWAY_SOMETHING: 'hunter2', OTHER_SPLICEWAY: 'x' },
  });
  const warnings = proxy.log.filter(({ event }) => event === 'warning');
  t.match(warnings, [
    {
      level: 'warn',
      msg: "the variable SPLICEWAY_IDLE_TIMOUT is not one of spliceway's and is ignored; did you mean SPLICEWAY_IDLE_TIMEOUT?",
    },
    { level: 'warn', msg: "the variable SPLICEWAY_SOMETHING is not one of spliceway's and is ignored" },
  ]);
  t.equal(warnings.length, 2);
  t.notMatch(JSON.stringify(proxy.log), 'hunter2');
});

t.test(
  'credentials from the variables of a Secret are used, and named in the banner without password',
  async (t) => {
    const proxy = await startProxy(t);
    t.match(proxy.stdout(), `http://${USER}:PASSWORD@`);
    t.match(proxy.stdout(), 'credentials    1 configured');
  },
);
