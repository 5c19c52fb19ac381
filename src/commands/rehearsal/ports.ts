import { once } from 'node:events';
import { createServer } from 'node:net';

import type { Child } from './child.js';
import type { Place } from './place.js';

/** Which port a program is to have. */
export interface PortChoice {
  /** The one that it has in a cluster. */
  readonly usual: number;
  /** Where ports are shared, try the usual one first. A privileged port that we may not bind counts as taken. Default: no. */
  readonly prefer?: boolean;
}

/**
 * Starts a program that must be told its port, and returns both once it listens there: on the usual one in a place
 * whose ports are its own, otherwise on one that is free. Throws what `start` throws.
 */
export async function startOnPort(
  place: Place,
  { usual, prefer = false }: PortChoice,
  start: (port: number) => Promise<Child>,
): Promise<{ readonly child: Child; readonly port: number }> {
  if (place.ports === 'shared') return startOnFreePort(start, prefer ? usual : undefined);
  const child = await start(usual);
  await child.untilListening(usual);
  return { child, port: usual };
}

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
