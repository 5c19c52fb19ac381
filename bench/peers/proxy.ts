// proxy.js ADDRESS PORT USER PASSWORD
import { createServer } from 'node:http';
import { createProxy } from 'proxy';

const [address = '', port = '', user, password] = process.argv.slice(2);
const expected = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
const server = createProxy(createServer());
server.authenticate = (request) => request.headers['proxy-authorization'] === expected;
server.listen(Number(port), address);
