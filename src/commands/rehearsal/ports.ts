import { once } from 'node:events';
import { createServer } from 'node:net';

import type { Child } from './child.js';

/**
 * Starts a program that must be told its port, on one that is free, and returns both once it listens there on
 * 127.0.0.1. The port can be taken in the moment between: then the program is started anew on another one.
 *
 * `preferred` is tried first (a privileged port that we may not bind counts as taken). Throws what `start` throws.
 */
export async function startOnFreePort(
  start: (port: number) => Promise<Child>,
  preferred?: number,
): Promise<{ readonly child: Child; readonly port: number }> {
  for (let attempt = 1; ; attempt += 1) {
    const port =
      (attempt === 1 && preferred !== undefined && (await tryPort(preferred))) || (await freePort());
    const child = await start(port);
    try {
      await child.untilListening(port);
      return { child, port };
    } catch (error) {
      if (attempt === MAXIMUM_ATTEMPTS || !/address already in use/i.test(await child.log())) throw error;
      await child.stop();
    }
  }
}

/** A TCP port of 127.0.0.1 that is free at this moment. */
export async function freePort(): Promise<number> {
  const port = await tryPort(0);
  if (port === undefined) throw new Error('no free TCP port on 127.0.0.1');
  return port;
}

const MAXIMUM_ATTEMPTS = 5;

async function tryPort(port: number): Promise<number | undefined> {
  const server = createServer();
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    return typeof address === 'object' && address !== null ? address.port : undefined;
  } catch {
    return undefined;
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
}
