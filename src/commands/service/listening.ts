import { once } from 'node:events';
import type { AddressInfo, Server } from 'node:net';
import type { Logger } from 'pino';
import type { ListenAddress } from '../../config/parsers.js';
import { formatAuthority } from '../../target.js';

/**
 * Lets the admin server listen.
 *
 * @throws Error that names the address, the reason and the option
 */
export async function openAdmin(admin: Server, at: ListenAddress, logger: Logger): Promise<AddressInfo> {
  admin.listen(at);
  await once(admin, 'listening').catch(explainListen('--admin'));
  admin.on('error', (error) =>
    logger.warn({ err: error }, 'the admin listener could not accept a connection'),
  );
  return admin.address() as AddressInfo; // A TCP server that listens has one.
}

/**
 * Makes of an error of `listen(2)` one that names the address, the reason and what to do.
 *
 * @param flag the option that the address came from
 */
export function explainListen(
  flag: string,
): (error: NodeJS.ErrnoException & { address?: string; port?: number }) => never {
  return (error) => {
    const where = error.address === undefined ? '' : ` on ${formatAuthority(error.address, error.port ?? 0)}`;
    const why: Record<string, string> = {
      EADDRINUSE: 'the port is in use',
      EACCES: 'ports below 1024 need a privilege',
      EADDRNOTAVAIL: 'the machine does not have this address',
      ENOTFOUND: 'the host name does not resolve',
      EAI_AGAIN: 'the host name does not resolve: no name server answers',
    };
    throw new Error(
      `cannot listen${where}: ${why[error.code ?? ''] ?? error.message}; choose another address with ${flag} HOST:PORT`,
    );
  };
}
