import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { launch } from 'puppeteer-core';
import t, { type Test } from 'tap';
import { WebSocketServer } from 'ws';

import { findPrograms } from '../../src/commands/rehearsal/programs.js';
import { eventually } from '../fixtures/process-state.js';
import { PASSWORD, startProxy, USER } from '../fixtures/proxy.js';

const HOST = 'target.test';
const DOWNLOAD = randomBytes(8 * 1024 * 1024);

t.test('Chromium loads a page, downloads, and speaks WebSocket through spliceway', async (t) => {
  const { port, paths } = await startOrigin(t);
  const proxy = await startProxy(t, ['--allow', `127.0.0.0/8:${port}`]);
  const browser = await startChromium(t, `http://${proxy.host}:${proxy.port}`);
  const page = await browser.newPage();
  await page.authenticate({ username: USER, password: PASSWORD });
  const loaded = await page.goto(`http://${HOST}:${port}/page`);
  t.equal(loaded?.status(), 200);
  await page.waitForFunction('document.title === "script ran"');
  // An expression as text: what runs in the page is not this program.
  t.same(await page.evaluate('[document.images[0].naturalWidth, getComputedStyle(document.body).color]'), [
    1,
    'rgb(1, 2, 3)',
  ]);
  t.same([...new Set(paths)].sort(), ['/image.gif', '/page', '/script.js', '/style.css']);

  await t.test('each asset is a request of its own, with the name of the user', async (t) => {
    const closes = () => proxy.log.filter(({ event, method }) => event === 'close' && method === 'GET');
    await eventually(closes, ({ length }) => length >= paths.length);
    t.equal(closes().length, paths.length, 'the origin got nothing in another way');
    for (const close of closes())
      t.match(close, { user: USER, target: `${HOST}:${port}`, status: 200, cause: 'complete' });
    // What else Chromium would like to reach, and cannot, is not of interest.
    const refused = proxy.log.filter(
      ({ decision, target }) => decision === 'refused' && target === `${HOST}:${port}`,
    );
    t.ok(refused.length > 0, 'Chromium sends credentials once it is asked for them');
    for (const record of refused) t.match(record, { reason: 'credentials_missing', code: 407 });
  });

  await t.test('a WebSocket', async (t) => {
    const echo = `new Promise((resolve, reject) => {
      const socket = new WebSocket('ws://${HOST}:${port}/socket');
      let heard = '';
      socket.onopen = () => socket.send('from Chromium');
      socket.onmessage = ({ data }) => { heard += data; socket.close(1000); };
      socket.onclose = ({ code }) => resolve([heard, code]);
      socket.onerror = () => reject(new Error('no WebSocket'));
    })`;
    t.same(await page.evaluate(echo), ['from Chromium', 1000]);
    const close = await proxy.until(({ event, engine }) => event === 'close' && engine !== undefined);
    t.match(close, { user: USER, target: `${HOST}:${port}`, engine: 'splice' });
    t.notOk('method' in close, 'by CONNECT');
  });

  await t.test('a download', async (t) => {
    const folder = t.testdir({});
    const session = await browser.target().createCDPSession();
    await session.send('Browser.setDownloadBehavior', {
      ...{ behavior: 'allow', downloadPath: folder, eventsEnabled: true },
    });
    const completed = new Promise<void>((resolve) =>
      session.on('Browser.downloadProgress', ({ state }) => {
        if (state === 'completed') resolve();
      }),
    );
    await page.evaluate('document.links[0].click()');
    await completed;
    t.equal(await sha256Of(join(folder, 'volume.bin')), sha256(DOWNLOAD));
    const close = await proxy.until(
      ({ event, bytesDown }) => event === 'close' && Number(bytesDown) >= DOWNLOAD.length,
    );
    t.match(close, { user: USER, method: 'GET', status: 200, cause: 'complete' });
  });

  t.equal(await proxy.metric('spliceway_uncaught_errors_total'), 0);
});

/** A page with a few assets, a WebSocket that echoes, and a download; and what was asked for by HTTP. */
async function startOrigin(t: Test): Promise<{ readonly port: number; readonly paths: readonly string[] }> {
  const paths: string[] = [];
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    const { url = '' } = request;
    paths.push(url);
    const [type, content] = PAGES[url] ?? ['text/plain', 'nothing'];
    response.setHeader('Content-Type', type);
    if (url === '/volume.bin') response.setHeader('Content-Disposition', 'attachment; filename=volume.bin');
    response.end(content);
  });
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(String(data))));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
    for (const client of sockets.clients) client.terminate();
  });
  return { port: (server.address() as AddressInfo).port, paths }; // A TCP server that listens has one.
}

const PAGES: Readonly<Record<string, readonly [type: string, content: string | Buffer]>> = {
  '/page': [
    'text/html',
    `<!DOCTYPE html><title>page</title><link rel="icon" href="data:,"><link rel="stylesheet" href="/style.css">
<img src="/image.gif"><a href="/volume.bin">download</a><script src="/script.js"></script>`,
  ],
  '/style.css': ['text/css', 'body { color: rgb(1, 2, 3) }'],
  '/script.js': ['text/javascript', 'document.title = "script ran"'],
  '/image.gif': ['image/gif', Buffer.from('R0lGODlhAQABAAAAACwAAAAAAQABAAACAkQBADs=', 'base64')],
  '/volume.bin': ['application/octet-stream', DOWNLOAD],
};

/** Debian's Chromium without a window; it ends with the test, with all its processes. */
async function startChromium(t: Test, proxyServer: string): Promise<Awaited<ReturnType<typeof launch>>> {
  const { chromium } = await findPrograms({
    chromium: { executables: ['chromium'], debianPackage: 'chromium' },
  });
  const home = t.testdir({});
  const browser = await launch({
    executablePath: chromium,
    userDataDir: join(home, 'profile'),
    // It keeps caches and settings below these.
    env: { ...process.env, HOME: home, XDG_CONFIG_HOME: home, XDG_CACHE_HOME: home },
    args: [
      `--proxy-server=${proxyServer}`,
      // Everything here is on loopback, which Chromium would reach without the proxy.
      '--proxy-bypass-list=<-loopback>',
      // Chromium's sandbox refuses root, and needs what containers seldom have.
      '--no-sandbox',
      '--disable-dev-shm-usage',
      '--disable-gpu',
    ],
  });
  t.teardown(() => browser.close());
  return browser;
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
