import { randomBytes } from 'node:crypto';
import { basicAuthenticator, type Credential, everybody } from '../access/credentials.js';
import { createFailureThrottle, createTunnelSlots } from '../access/limits.js';
import { createPolicy } from '../access/policy.js';
import { banner } from '../config/banner.js';
import { loadConfig } from '../config/load.js';
import { credentialsOf } from '../config/options.js';
import { SERVE } from '../config/tables.js';
import type { HttpStages } from '../server/forward.js';
import { HttpReception } from '../server/http.js';
import { Listener } from '../server/listener.js';
import { Service, type ServiceProcess } from './service/service.js';

/**
 * Runs the proxy until a signal ends it: the only place that builds all of it.
 *
 * @returns exit code: 0 drained, 1 when tunnels were cut
 * @throws ConfigError where the options hold mistakes; Error where it could not start
 */
export async function serve(argv: readonly string[], { env, version }: ServiceProcess): Promise<number> {
  const { config, warnings } = loadConfig(SERVE, argv, env);
  const service = new Service(config, version);
  const { picked, room } = service;
  const configured = credentialsOf(config);
  const invented = configured.length === 0 && !config.noAuth ? inventCredential() : undefined;
  const credentials = invented === undefined ? configured : [invented];
  const stages: HttpStages = {
    ...service.stages,
    authenticator: config.noAuth ? everybody : basicAuthenticator(credentials, createFailureThrottle()),
    policy: createPolicy({ ...config, isOwnListener: service.isOwnListener }),
    slots: createTunnelSlots({ ...config, maxTunnels: room.tunnels }),
    forwarding: { upgrades: config.upgrade, pseudonym: service.viaName },
    lingerMs: config.lingerTimeout,
  };
  const listener = new Listener(
    { listen: config.listen, maxConnections: room.connections },
    stages,
    (admit) => new HttpReception({ handshakeTimeoutMs: config.handshakeTimeout }, stages, admit),
  );
  return service.run(listener, {
    banner: (facts) => banner({ version, config, credentials, invented, picked, ...facts }),
    warnings,
  });
}

/** 128 bits, in letters that neither a URL, nor YAML, nor stunnel, nor a shell reads in a way of its own. */
function inventCredential(): Credential {
  return { name: 'migration', password: randomBytes(16).toString('hex') };
}
