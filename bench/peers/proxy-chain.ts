// proxy-chain.js ADDRESS PORT USER PASSWORD
import { Server } from 'proxy-chain';

const [address = '', port = '', user, password] = process.argv.slice(2);
const server = new Server({
  host: address,
  port: Number(port),
  prepareRequestFunction: ({ username, password: given }) => ({
    requestAuthentication: username !== user || given !== password,
  }),
});
await server.listen();
