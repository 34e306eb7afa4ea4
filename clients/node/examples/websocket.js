/**
 * A WebSocket server that echoes messages. It closes a connection when its token is revoked or expires, with code 4401.
 *
 * The token comes as `Authorization: Bearer …`; a browser, which cannot set that header, would send a cookie. Settings: ADIEU_URL,
 * ADIEU_CLIENT, ADIEU_SECRET and PORT.
 */

import http from 'node:http';

import { Verifier } from '@adieu/client';
import { bearerToken } from '@adieu/client/express-jwt';
import { WebSocket, WebSocketServer } from 'ws';

/** The longest time that a timer can have, in milliseconds. */
const MAX_DELAY = 2 ** 31 - 1;

const verifier = new Verifier({ issuer: 'adieu' });
await verifier.ready();

const sockets = new WebSocketServer({ noServer: true, maxPayload: 64 * 1024 });
const server = http.createServer((_request, response) => response.writeHead(426).end());

server.on('upgrade', (request, stream, head) => {
  stream.on('error', () => stream.destroy());
  /** @type {WebSocket | undefined} */
  let socket;
  const close = () => socket?.close(4401);
  try {
    const token = bearerToken(request);
    const { claims, kid } = verifier.verifyWithKey(token);
    stream.once('close', verifier.blocklist.onRevoked(claims, close, token, kid));
    const expiry = setTimeout(close, Math.min(claims.exp * 1000 - Date.now(), MAX_DELAY));
    stream.once('close', () => clearTimeout(expiry));
  } catch (error) {
    const { status = 500 } = /** @type {{ status?: number }} */ (error);
    stream.end(`HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\nConnection: close\r\n\r\n`);
    return;
  }
  sockets.handleUpgrade(request, stream, head, (opened) => {
    socket = opened;
    opened.on('error', () => {});
    opened.on('message', (message) => {
      // A client that does not answer the close may still send.
      if (opened.readyState === WebSocket.OPEN) opened.send(String(message));
    });
  });
});

server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  console.log(`ws://127.0.0.1:${port}`);
});
