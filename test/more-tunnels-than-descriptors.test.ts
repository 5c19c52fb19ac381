import t from 'tap';
import { startProxy } from './fixtures/proxy.js';

t.test('--max-tunnels beyond what the file descriptors hold is lowered, and said', async (t) => {
  const proxy = await startProxy(t, ['--max-tunnels', '5000', '--relay-threads', '2'], {
    under: ['prlimit', '--nofile=264'],
  });
  // 264, less 64 that are not for tunnels, less 4 for threads and an eighth for pipes; two a tunnel, and a tenth left to refuse with.
  t.match(
    proxy.log.find(({ event }) => event === 'listening'),
    { maxTunnels: 73 },
  );
  t.match(proxy.log, [
    {
      level: 'warn',
      event: 'warning',
      msg: '--max-tunnels 5000 needs more than the 264 file descriptors of this process: 73 tunnels at most; raise the limit (ulimit -n, LimitNOFILE)',
    },
  ]);
});

t.test('--max-tunnels within them is taken as it is, and 0 stands for as many as fit', async (t) => {
  for (const [wanted, given] of [
    ['73', 73],
    ['7', 7],
    ['0', 73],
  ] as const) {
    const proxy = await startProxy(t, ['--max-tunnels', wanted, '--relay-threads', '2'], {
      under: ['prlimit', '--nofile=264'],
    });
    t.match(proxy.log, [{ event: 'listening', maxTunnels: given }], 'and there is no warning before it');
  }
});
