import { everybody } from '../access/credentials.js';
import { fixedTargetPolicy } from '../access/fixed-target.js';
import { createTunnelSlots } from '../access/limits.js';
import { forwardBanner } from '../config/banner.js';
import type { ForwardConfig } from '../config/forward-options.js';
import { loadConfig } from '../config/load.js';
import { isLoopback } from '../config/parsers.js';
import { FORWARD } from '../config/tables.js';
import { Listener } from '../server/listener.js';
import { portForward } from '../server/port-forward.js';
import type { Stages } from '../server/request.js';
import { formatAuthority } from '../target.js';
import { Service, type ServiceProcess } from './service/service.js';

/**
 * Makes a tunnel to one target of every connection to a port, for programs that cannot CONNECT, until a signal ends it.
 *
 * @returns exit code: 0 drained, 1 when tunnels were cut
 * @throws ConfigError where the options hold mistakes; Error where it could not start
 */
export async function forward(argv: readonly string[], { env, version }: ServiceProcess): Promise<number> {
  const { config, warnings } = loadConfig(FORWARD, argv, env);
  const service = new Service(config, version);
  const { picked, room } = service;
  const stages: Stages = {
    ...service.stages,
    authenticator: everybody,
    policy: fixedTargetPolicy(service.isOwnListener),
    slots: createTunnelSlots({ maxTunnels: room.tunnels, maxTunnelsPerUser: 0, maxTunnelsPerClient: 0 }),
    // Nobody is answered.
    lingerMs: 0,
  };
  const listener = new Listener(
    { listen: config.listen, maxConnections: room.connections },
    stages,
    (admit) => portForward(config.target, stages, admit),
  );
  return service.run(listener, {
    banner: (facts) => forwardBanner({ version, config, picked, ...facts }),
    warnings: [...warnings, ...openListeners(config)],
  });
}

/** Nobody is asked for credentials: what that means where others can connect. */
function openListeners({ listen }: ForwardConfig): readonly string[] {
  const open = listen
    .filter(({ host }) => !isLoopback(host))
    .map(({ host, port }) => formatAuthority(host, port));
  return open.length === 0
    ? []
    : [
        `whoever reaches ${open.join(' or ')} reaches the target, with the credentials of the parent: nobody is asked`,
      ];
}
