import type { IncomingMessage } from 'node:http';

/** What frames, routes, authenticates or describes a message is no trailer, and what is for one hop is not passed on (RFC 9110 §6.5.1). */
const NO_TRAILER =
  /^(?:proxy-.*|connection|keep-alive|te|trailer|transfer-encoding|upgrade|host|via|max-forwards|expect|authorization|cookie|set-cookie|content-(?:encoding|length|range|type))$/i;

/** The trailers of a message that has been read to its end, as Node wants them to be sent: names with their values. */
export function trailersOf({ rawTrailers }: Pick<IncomingMessage, 'rawTrailers'>): [string, string][] {
  const pairs: [string, string][] = [];
  for (let i = 0; i + 1 < rawTrailers.length; i += 2) {
    const name = rawTrailers[i] ?? '';
    if (!NO_TRAILER.test(name)) pairs.push([name, rawTrailers[i + 1] ?? '']);
  }
  return pairs;
}
