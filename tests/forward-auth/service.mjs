/** The services behind the proxies: one in Node, with WebSockets and gRPC, and one in Flask, which folds the names of headers. */

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/**
 * A request as it arrived: `headers` are names and values in turn, those of the trailers too.
 * @typedef {{ method: string, path: string, headers: string[], body: number, hash: string }} Seen
 */

/** @param {string | Buffer} bytes */
export const hashOf = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** Responses of the service's own, which a proxy must not take for Adieu's, by their paths. */
export const OWN = /** @type {const} */ ([400, 401, 403, 404, 422, 500, 503]);

/** A service that stores the requests that it gets: HTTP/1.1 and WebSockets on one port, gRPC on another. */
export class Service {
  /** @type {Seen[]} */
  seen = [];
  port = 0;
  grpcPort = 0;

  /** @param {import('node:test').TestContext} t */
  static async start(t) {
    const service = new Service();
    const plain = http.createServer({ maxHeaderSize: 1 << 18, insecureHTTPParser: false }, (request, response) => void service.#answer(request, response));
    plain.on('upgrade', (request, socket) => {
      service.#store(request, Buffer.alloc(0));
      const key = request.headers['sec-websocket-key'];
      const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
      // A service may speak any protocol that is asked for.
      const { upgrade } = request.headers;
      socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: ${upgrade}\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
      socket.on('error', () => {});
      socket.on('data', (bytes) => socket.write(bytes));
      socket.on('end', () => socket.end());
    });
    const grpc = http2.createServer((request, response) => {
      service.seen.push({ method: request.method, path: request.url, headers: request.rawHeaders, body: 0, hash: '' });
      response.writeHead(200, { 'content-type': 'application/grpc' });
      response.addTrailers({ 'grpc-status': '0', 'grpc-message': 'fine' });
      request.pipe(response);
    });
    service.port = await listen(t, plain);
    service.grpcPort = await listen(t, grpc);
    return service;
  }

  /** @param {http.IncomingMessage} request @param {Buffer} body */
  #store({ method = '', url = '', rawHeaders, rawTrailers }, body) {
    this.seen.push({ method, path: url, headers: [...rawHeaders, ...rawTrailers], body: body.length, hash: hashOf(body) });
  }

  /** @param {http.IncomingMessage} request @param {http.ServerResponse} response */
  async #answer(request, response) {
    /** @type {Buffer[]} */
    const parts = [];
    try {
      for await (const bytes of request) parts.push(bytes);
    } catch {
      return;
    }
    this.#store(request, Buffer.concat(parts));
    if (request.url?.startsWith('/broken')) {
      // The response breaks off.
      response.writeHead(200, { 'content-length': '1000' });
      response.write('own', () => response.destroy());
      return;
    }
    const status = Number(/^\/(?:public\/)?own\/(\d+)$/.exec(request.url ?? '')?.[1] ?? 200);
    response.writeHead(status, { 'content-type': 'text/plain', 'www-authenticate': 'Own realm="service"', 'x-own': 'yes' });
    response.end(`own ${status}`);
  }
}

/** @param {import('node:test').TestContext} t @param {http.Server | http2.Http2Server} server */
async function listen(t, server) {
  /** @type {Set<net.Socket>} */
  const sockets = new Set();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return /** @type {net.AddressInfo} */ (server.address()).port;
}

/** Starts the service in Flask, and returns its port. @param {import('node:test').TestContext} t @param {string} python */
export async function startFlask(t, python) {
  const child = spawn(python, [fileURLToPath(new URL('service.py', import.meta.url))], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return Number((await lines.next()).value);
}
