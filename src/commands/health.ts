import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import type { HealthConfig } from '../config/health-options.js';
import { loadConfig } from '../config/load.js';
import { HEALTH } from '../config/tables.js';
import { formatAuthority } from '../target.js';
import type { ServiceProcess } from './service/service.js';

/**
 * Asks the admin listener of a running proxy for `/live`: the health check of containers whose image has neither curl nor a
 * shell. It finds the listener as `spliceway serve` does, in flags, environment and file, and looks at no other option.
 *
 * @returns exit code: 0 it lives, 1 it does not, and standard error says why in one line
 * @throws ConfigError where the options do not tell whom to ask
 */
export async function health(argv: readonly string[], { env }: Pick<ServiceProcess, 'env'>): Promise<number> {
  const { config } = loadConfig(HEALTH, argv, env);
  const problem = await problemOf(config);
  if (problem === undefined) process.stdout.write(LIVE);
  else process.stderr.write(`spliceway health: ${problem}\n`);
  return problem === undefined ? 0 : 1;
}

/** What the admin listener answers, see `observe/admin.ts`. */
const LIVE = 'live\n';

async function problemOf({ admin, healthTimeout }: HealthConfig): Promise<string | undefined> {
  const host = LOOPBACK_OF[admin.host] ?? admin.host;
  const where = formatAuthority(host, admin.port);
  const signal = AbortSignal.timeout(healthTimeout);
  try {
    // No agent: one of Node's own may be set up to go through a proxy.
    const request = get({ host, port: admin.port, path: '/live', agent: false, signal });
    // What goes wrong behind the head of the answer is told by the answer as well.
    request.on('error', () => {});
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    let body = '';
    for await (const chunk of response) {
      body += String(chunk);
      if (body.length > LIVE.length) break;
    }
    if (response.statusCode === 200 && body === LIVE) return undefined;
    return `${where} answered ${response.statusCode}, but not as spliceway does: another program has this port; ${ELSEWHERE}`;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    if (signal.aborted)
      return `${where} did not answer within ${healthTimeout / 1000}s: the proxy hangs or has too little CPU; restart it, or raise --health-timeout`;
    if (code === 'ECONNREFUSED')
      return `nothing listens on ${where}: the proxy is not running, its log says why; ${ELSEWHERE}`;
    return `${where} gave no answer (${code}): the proxy's log says more; ${ELSEWHERE}`;
  }
}

const ELSEWHERE =
  'where its --admin is another one, set SPLICEWAY_ADMIN, which both commands read, instead of the flag';

/** Where a listener on every address is reached from the same machine. */
const LOOPBACK_OF: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' };
