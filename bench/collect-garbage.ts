// collect-garbage.js ws://…: has another Node.js process, whose inspector listens there, collect its garbage; says {"event":"collected"}.
import { request } from 'node:http';

const url = (process.argv[2] ?? '').replace(/^ws:/, 'http:');
const message = Buffer.from(JSON.stringify({ id: 1, method: 'HeapProfiler.collectGarbage' }));
const upgrade = request(url, {
  headers: {
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': Buffer.alloc(16).toString('base64'),
  },
});
upgrade.on('upgrade', (_, socket) => {
  // RFC 6455: one final text frame of fewer than 126 bytes, masked with zeros.
  socket.write(Buffer.concat([Buffer.from([0x81, 0x80 | message.length, 0, 0, 0, 0]), message]));
  socket.once('data', () => process.stdout.write('{"event":"collected"}\n', () => process.exit()));
});
upgrade.end();
