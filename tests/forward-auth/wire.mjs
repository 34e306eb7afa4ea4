/** Clients that send exactly what a test says, also what no library would send. */

import { once } from 'node:events';
import http2 from 'node:http2';
import net from 'node:net';
import tls from 'node:tls';

/**
 * An answer; `trailers` are those of HTTP/2.
 * @typedef {{ status: number, headers: Record<string, string>, body: string, trailers: Record<string, string> }} Answer
 * @typedef {{
 *   method?: string, token?: string | undefined, lines?: readonly string[], trailers?: string[], body?: string | Buffer | undefined,
 *   chunked?: boolean, from?: string, ca?: string | undefined,
 * }} Request `lines` are headers, `from` is the address of the client, `ca` is the certificate of a proxy with TLS
 */

/** Longer than any response takes; `fetch` has no such limit and would hang with the proxy. */
const TIMEOUT = 15_000;

/** The lines of the headers of a request. @param {Request} request */
function linesOf({ token, lines = [] }) {
  return token === undefined ? lines : [`Authorization: Bearer ${token}`, ...lines];
}

/** Opens a connection for HTTP/1.1, with TLS if there is a certificate. @param {number} port @param {Request} [request] */
function connect(port, { from, ca } = {}) {
  const options = { port, host: '127.0.0.1', ...(from && { localAddress: from }) };
  return ca === undefined ? net.connect(options) : tls.connect({ ...options, ca, ALPNProtocols: ['http/1.1'] });
}

/**
 * Opens a WebSocket over HTTP/1.1. Returns the status, and what comes back of a text that is sent through the WebSocket.
 * @param {number} port
 * @param {string} path
 * @param {Request} [request]
 * @returns {Promise<{ status: number, echoed: string }>}
 */
export async function webSocket(port, path, request = {}) {
  const socket = connect(port, request);
  try {
    const connection = new Connection(socket);
    const upgrade = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='];
    socket.write([`${request.method ?? 'GET'} ${path} HTTP/1.1`, `Host: 127.0.0.1:${port}`, ...upgrade, ...linesOf(request), '', ''].join('\r\n'));
    const { status } = await connection.answer('GET');
    if (status !== 101) return { status, echoed: '' };
    socket.write('a frame');
    return { status, echoed: await connection.take('a frame'.length) };
  } finally {
    socket.destroy();
  }
}

/**
 * Opens a WebSocket over HTTP/2 (RFC 8441), as {@link webSocket} does, with status 0 if there is no response; undefined if the server does not
 * offer that.
 * @param {number} port
 * @param {string} path
 * @param {Request} [request]
 * @returns {Promise<{ status: number, echoed: string } | undefined>}
 */
export async function webSocketH2(port, path, request = {}) {
  const session = openSession(port, request);
  try {
    await once(session, 'remoteSettings');
    if (!session.remoteSettings.enableConnectProtocol) return undefined;
    const head = { ':method': 'CONNECT', ':protocol': 'websocket', ':path': path, 'sec-websocket-version': '13' };
    const stream = session.request({ ...head, ...toHeaders(linesOf(request)) }, { endStream: false });
    stream.on('error', () => {});
    const [{ ':status': status = 0 }] = await once(stream, 'response', { signal: AbortSignal.timeout(TIMEOUT) }).catch(() => [{}]);
    if (status !== 200) return { status, echoed: '' };
    stream.write('a frame');
    let echoed = '';
    while (echoed.length < 'a frame'.length) echoed += (await once(stream, 'data'))[0];
    return { status, echoed };
  } finally {
    session.destroy();
  }
}

/**
 * Sends a request over HTTP/1.1, each line as it is, and returns the last response.
 * @param {number} port
 * @param {string} path
 * @param {Request} [request]
 * @returns {Promise<Answer>}
 */
export async function http1(port, path, request = {}) {
  const { method = 'GET', trailers, body, chunked = trailers !== undefined } = request;
  const head = [`${method} ${path} HTTP/1.1`, `Host: 127.0.0.1:${port}`, ...linesOf(request)];
  if (chunked) head.push('Transfer-Encoding: chunked');
  else if (body !== undefined) head.push(`Content-Length: ${Buffer.byteLength(body)}`);
  const socket = connect(port, request);
  try {
    const connection = new Connection(socket);
    /** @type {Promise<Answer> | undefined} */
    let early;
    socket.write(`${head.join('\r\n')}\r\n\r\n`);
    if (head.some((line) => /^expect:/i.test(line))) {
      // A client does not wait for this without a limit (RFC 9110 §10.1.1): Caddy rejects a request only after a small body.
      const waited = new Promise((resolve) => setTimeout(resolve, 200, undefined));
      const answer = connection.answer(method);
      const first = /** @type {Answer | undefined} */ (await Promise.race([answer, waited]));
      if (first !== undefined && first.status !== 100) return first;
      if (first === undefined) early = answer;
    }
    if (chunked) {
      const data = Buffer.from(body ?? '');
      for (let at = 0; at < data.length; at += 50_000) {
        const part = data.subarray(at, at + 50_000);
        socket.write(`${part.length.toString(16)}\r\n`);
        socket.write(part);
        socket.write('\r\n');
      }
      socket.write(`0\r\n${(trailers ?? []).map((line) => `${line}\r\n`).join('')}\r\n`);
    } else if (body !== undefined) socket.write(body);
    for (;;) {
      const answer = await (early ?? connection.answer(method));
      early = undefined;
      if (answer.status !== 100) return answer;
    }
  } finally {
    socket.destroy();
  }
}

/** The responses on a connection of HTTP/1.1. */
export class Connection {
  #socket;
  #bytes = Buffer.alloc(0);
  #ended = false;

  /** @param {net.Socket} socket */
  constructor(socket) {
    this.#socket = socket;
    socket.on('data', (bytes) => (this.#bytes = Buffer.concat([this.#bytes, bytes])));
    socket.on('error', () => (this.#ended = true));
    socket.on('close', () => (this.#ended = true));
    socket.on('end', () => (this.#ended = true));
  }

  /** Waits until there is more, or the end. */
  async #more() {
    if (this.#ended) return false;
    const before = this.#bytes.length;
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('no response')), TIMEOUT);
      const done = () => {
        clearTimeout(timer);
        this.#socket.off('data', done).off('close', done);
        resolve(undefined);
      };
      this.#socket.on('data', done).on('close', done);
    });
    return this.#bytes.length > before || !this.#ended;
  }

  /** The next bytes, at most these. @param {number} count */
  async take(count) {
    while (this.#bytes.length < count && (await this.#more()));
    const taken = this.#bytes.subarray(0, count);
    this.#bytes = this.#bytes.subarray(count);
    return taken.toString();
  }

  /** The next line, without its end; undefined at the end. */
  async #line() {
    let end;
    while ((end = this.#bytes.indexOf('\r\n')) < 0) if (!(await this.#more())) return undefined;
    const line = this.#bytes.subarray(0, end).toString();
    this.#bytes = this.#bytes.subarray(end + 2);
    return line;
  }

  /** The next response: with status 0 if the connection ends before one. @param {string} method @returns {Promise<Answer>} */
  async answer(method) {
    const first = await this.#line();
    const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(first ?? '')?.[1] ?? 0);
    /** @type {Record<string, string>} */
    const headers = {};
    for (let line; status !== 0 && (line = await this.#line()); ) {
      const colon = line.indexOf(':');
      headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
    }
    let body = '';
    if (status >= 200 && status !== 204 && status !== 304 && method !== 'HEAD') {
      if (headers['transfer-encoding'] === 'chunked') {
        for (let size; (size = Number.parseInt((await this.#line()) ?? '0', 16)) > 0; await this.#line()) body += await this.take(size);
        while (await this.#line());
      } else body = await this.take(Number(headers['content-length'] ?? Number.MAX_SAFE_INTEGER));
    }
    return { status, headers, body, trailers: {} };
  }
}

/** Opens a connection for HTTP/2, chosen by ALPN if there is a certificate. @param {number} port @param {Request} request */
export function openSession(port, { ca }) {
  const session = http2.connect(`http${ca === undefined ? '' : 's'}://127.0.0.1:${port}`, { maxSendHeaderBlockLength: 1 << 20, ...(ca && { ca }) });
  // The requests fail with it.
  session.on('error', () => {});
  return session;
}

/**
 * Sends a request over HTTP/2; only what HTTP/2 can express.
 * @param {number} port
 * @param {string} path
 * @param {Request} [request]
 * @returns {Promise<Answer>}
 */
export async function h2(port, path, request = {}) {
  const session = openSession(port, request);
  try {
    return await exchange(session, path, request);
  } finally {
    session.destroy();
  }
}

/**
 * Sends a request on a connection of HTTP/2.
 * @param {http2.ClientHttp2Session} session
 * @param {string} path
 * @param {Request} request
 */
export async function exchange(session, path, request) {
  const { method = 'GET', trailers, body } = request;
  const stream = session.request(
    { ':method': method, ':path': path, ...toHeaders(linesOf(request)) },
    { endStream: body === undefined && trailers === undefined, waitForTrailers: trailers !== undefined },
  );
  /** @type {Answer} */
  const answer = { status: 0, headers: {}, body: '', trailers: {} };
  stream.setTimeout(TIMEOUT, () => stream.close());
  stream.on('wantTrailers', () => stream.sendTrailers(toHeaders(trailers ?? [])));
  stream.on('response', ({ ':status': status = 0, ...headers }) => Object.assign(answer, { status, headers }));
  stream.on('data', (bytes) => (answer.body += bytes));
  stream.on('trailers', (headers) => Object.assign(answer.trailers, headers));
  stream.on('error', () => {});
  if (body !== undefined || trailers !== undefined) stream.end(body);
  await new Promise((resolve) => stream.once('close', () => resolve(undefined)));
  return answer;
}

/** @param {readonly string[]} lines */
function toHeaders(lines) {
  /** @type {Record<string, string[]>} */
  const headers = {};
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).toLowerCase();
    (headers[name] ??= []).push(line.slice(colon + 1).trim());
  }
  return Object.fromEntries(Object.entries(headers).map(([name, values]) => [name, values.length === 1 ? /** @type {string} */ (values[0]) : values]));
}
