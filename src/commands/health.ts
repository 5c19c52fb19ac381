import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import type { HealthConfig } from '../config/health-options.js';
import { loadConfig } from '../config/load.js';
import { HEALTH } from '../config/tables.js';
import { PROXY_NAME } from '../handshake/reply.js';
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

async function problemOf(config: HealthConfig): Promise<string | undefined> {
  const { admin, healthTimeout } = config;
  const hosts = LOOPBACKS_OF[admin.host] ?? [admin.host];
  const signal = AbortSignal.timeout(healthTimeout);
  for (const host of hosts) {
    const { problem, refused } = await ask({ host, port: admin.port, healthTimeout, signal });
    if (!refused) return problem;
  }
  const asked = hosts.map((host) => formatAuthority(host, admin.port)).join(' or ');
  return `nothing listens on ${asked}: the proxy is not running, and its log says why, or ${ELSEWHERE}`;
}

interface Asked {
  /** Undefined where it lives. */
  readonly problem?: string;
  /** Nothing listens there, or the machine has no such address. */
  readonly refused: boolean;
}

async function ask({
  host,
  port,
  healthTimeout,
  signal,
}: {
  readonly host: string;
  readonly port: number;
  readonly healthTimeout: number;
  readonly signal: AbortSignal;
}): Promise<Asked> {
  const where = formatAuthority(host, port);
  const failed = (problem: string): Asked => ({ problem, refused: false });
  try {
    // No agent: one of Node's own may be set up to go through a proxy.
    const request = get({ host, port, path: '/live', agent: false, signal });
    // What goes wrong behind the head of the answer is told by the answer as well.
    request.on('error', () => {});
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    let body = '';
    for await (const chunk of response) {
      body += String(chunk);
      if (body.length > LIVE.length) break;
    }
    const { statusCode, headers } = response;
    if (statusCode === 200 && body === LIVE) return { refused: false };
    if (String(headers['proxy-status'] ?? '').startsWith(`${PROXY_NAME};`))
      return failed(`${where} is the --listen of a proxy, and its --admin is another port: ${NAMED}`);
    return failed(
      `${where} answered ${statusCode}, but not as spliceway does: another program has this port, and ${ELSEWHERE}`,
    );
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    if (signal.aborted)
      return failed(
        `${where} did not answer within ${healthTimeout / 1000}s: the proxy hangs or has too little CPU; restart it, or raise --health-timeout`,
      );
    if (['ECONNREFUSED', 'EADDRNOTAVAIL', 'EAFNOSUPPORT'].includes(code)) return { refused: true };
    return failed(`${where} gave no answer (${code}): the proxy's log says more, or ${ELSEWHERE}`);
  }
}

const NAMED =
  'give the address in its banner (metrics) or log (listening: admin), as --admin or SPLICEWAY_ADMIN';

const ELSEWHERE = `its --admin is another one: ${NAMED}`;

/** Where a listener on every address is reached from the same machine, the likelier way first. */
const LOOPBACKS_OF: Readonly<Record<string, readonly string[]>> = {
  '0.0.0.0': ['127.0.0.1', '::1'],
  '::': ['::1', '127.0.0.1'],
};
