import t from 'tap';
import { startProxy } from './fixtures/proxy.js';

t.test('--max-tunnels beyond what the file descriptors hold is lowered, and said', async (t) => {
  const proxy = await startProxy(t, ['--max-tunnels', '5000'], { under: ['prlimit', '--nofile=264'] });
  // 264, less 64 that are not for tunnels, two a tunnel, and a tenth left to refuse with.
  t.match(
    proxy.log.find(({ event }) => event === 'listening'),
    { maxTunnels: 90 },
  );
  t.match(proxy.log, [
    {
      level: 'warn',
      event: 'warning',
      msg: '--max-tunnels 5000 needs more than the 264 file descriptors of this process: 90 tunnels at most; raise the limit (ulimit -n, LimitNOFILE)',
    },
  ]);
});

t.test('--max-tunnels within them is taken as it is, and 0 stands for as many as fit', async (t) => {
  for (const [wanted, given] of [
    ['90', 90],
    ['7', 7],
    ['0', 90],
  ] as const) {
    const proxy = await startProxy(t, ['--max-tunnels', wanted], { under: ['prlimit', '--nofile=264'] });
    t.match(proxy.log, [{ event: 'listening', maxTunnels: given }], 'and there is no warning before it');
  }
});
