/**
 * One HTTP request, with limits on the time until the response begins, on its duration, and on its size.
 *
 * An open connection does not keep the process alive. No redirect is followed.
 */

import http from 'node:http';
import https from 'node:https';

import { NodeError } from './errors.js';

/** How long a response may take after it has begun, in milliseconds. */
const BODY_TIME = 10_000;

/** @typedef {{ status: number, headers: http.IncomingHttpHeaders, body: Buffer }} Answer */

/**
 * Returns an agent that keeps connections to a URL open.
 * @param {URL} url
 * @returns {http.Agent}
 */
export function agentFor(url) {
  const { Agent } = url.protocol === 'https:' ? https : http;
  return new Agent({ keepAlive: true });
}

/**
 * Sends a request: a POST if there is `content`, otherwise a GET. Rejects with a {@link NodeError}.
 * @param {URL} url
 * @param {object} options
 * @param {string} options.peer who answers, for error messages
 * @param {http.Agent} options.agent
 * @param {http.OutgoingHttpHeaders} options.headers
 * @param {Buffer} [options.content]
 * @param {number} options.firstByte how many milliseconds the response may take to begin
 * @param {number} options.maxBytes the maximum length of the response
 * @param {AbortSignal} options.signal
 * @returns {Promise<Answer>}
 */
export function exchange(url, { peer, agent, headers, content, firstByte, maxBytes, signal }) {
  return new Promise((resolve, reject) => {
    const closed = () => new NodeError('ADIEU_CLOSED', 'the blocklist has been closed');
    if (signal.aborted) {
      reject(closed());
      return;
    }
    const { request: send } = url.protocol === 'https:' ? https : http;
    const request = send(url, { method: content ? 'POST' : 'GET', agent, headers, signal });

    /** @param {unknown} cause */
    const fail = (cause) => {
      clearTimeout(timer);
      request.destroy();
      if (cause instanceof NodeError) reject(cause);
      else if (signal.aborted) reject(closed());
      else reject(new NodeError('ADIEU_UNREACHABLE', `${peer} can't be reached${code(cause)}`, { cause }));
    };
    const tooSlow = () => fail(new NodeError('ADIEU_TIMEOUT', `${peer} takes too long to answer`));
    let timer = setTimeout(tooSlow, firstByte);
    timer.unref();

    request.on('error', fail);
    request.on('socket', (socket) => socket.unref());
    request.on('response', (response) => {
      clearTimeout(timer);
      timer = setTimeout(tooSlow, BODY_TIME);
      timer.unref();
      /** @type {Buffer[]} */
      const chunks = [];
      let size = 0;
      response.on('error', fail);
      response.on('aborted', () => fail(new Error('the answer was cut off')));
      response.on('data', (/** @type {Buffer} */ chunk) => {
        size += chunk.length;
        if (size > maxBytes) fail(new NodeError('ADIEU_ANSWER', `the answer of ${peer} is too large`));
        else chunks.push(chunk);
      });
      response.on('end', () => {
        clearTimeout(timer);
        if (!response.complete) return;
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) });
      });
    });
    request.end(content);
  });
}

/** @param {unknown} cause */
function code(cause) {
  // Not `instanceof Error`: under jest, Node's own errors are of another class.
  const { code } = Object(cause);
  return code === undefined ? '' : ` (${code})`;
}
