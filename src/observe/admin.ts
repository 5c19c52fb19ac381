import { createServer, type Server } from 'node:http';
import type { Metrics } from './metrics.js';

/** What the admin listener shows. */
export interface AdminOptions {
  readonly metrics: Metrics;
  /** Whether new tunnels are welcome: `/ready`. */
  readonly isReady: () => boolean;
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

/** Connections at once: descriptors that somebody holds here are missing for tunnels. */
const MAX_CONNECTIONS = 32;

/** How long a request may take to arrive, so that silent connections make room for probes, in milliseconds. */
const REQUEST_TIMEOUT_MS = 5000;

const TEXT = 'text/plain; charset=utf-8';

/**
 * An HTTP server for operators, not yet listening: `/metrics` (Prometheus text format), `/live` and `/ready` (Kubernetes
 * probes). Whoever receives it closes it.
 */
export function createAdmin(options: AdminOptions): Server {
  const pages: Readonly<Record<string, () => Answer | Promise<Answer>>> = {
    '/metrics': async () => ({
      status: 200,
      type: options.metrics.contentType,
      body: await options.metrics.render(),
    }),
    '/live': () => ({ status: 200, type: TEXT, body: 'live\n' }),
    '/ready': () =>
      options.isReady()
        ? { status: 200, type: TEXT, body: 'ready\n' }
        : { status: 503, type: TEXT, body: 'draining: no new tunnels\n' },
  };
  const timeouts = {
    headersTimeout: REQUEST_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionsCheckingInterval: 1000,
  };
  const server = createServer(timeouts, (request, response) => {
    const path = (request.url ?? '/').split('?')[0] ?? '/';
    const page = pages[path];
    const send = ({ status, type, body }: Answer) => {
      response.writeHead(status, { 'Content-Type': type, 'Cache-Control': 'no-store' });
      response.end(request.method === 'HEAD' ? undefined : body);
    };
    if (page === undefined) {
      send({ status: 404, type: TEXT, body: `not here; there is ${Object.keys(pages).join(', ')}\n` });
    } else if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('Allow', 'GET, HEAD');
      send({ status: 405, type: TEXT, body: 'only GET and HEAD\n' });
    } else {
      Promise.resolve(page()).then(send, () =>
        send({ status: 500, type: TEXT, body: 'the metrics could not be rendered\n' }),
      );
    }
  });
  server.maxConnections = MAX_CONNECTIONS;
  // Who pipelines pages and does not read them would hold them all in memory, and every connection.
  server.maxRequestsPerSocket = 1;
  server.timeout = REQUEST_TIMEOUT_MS;
  server.on('clientError', (_error, socket) => socket.destroy());
  return server;
}
