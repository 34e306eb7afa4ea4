/**
 * One HTTP request, with limits on the time until the response begins and until it ends, and on its size.
 *
 * An open connection does not keep the process alive. No redirect is followed.
 */

import { setMaxListeners } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';

import { CertifiedAgent } from './certificates.js';
import { failed } from './connection.js';
import { NodeError } from './errors.js';

/** @typedef {{ status: number, headers: http.IncomingHttpHeaders, body: Buffer }} Answer */

/**
 * Returns the transport of Node to a URL, which keeps connections open.
 * @param {URL} url
 * @param {import('./certificates.js').Files} files
 * @returns {import('./connection.js').Transport}
 */
export function transportFor(url, files) {
  const agent = agentFor(url, files);
  return {
    exchange: (target, request) => exchange(target, { ...request, agent }),
    pause,
    close: () => agent.destroy(),
  };
}

/**
 * Waits for a time, at most until the signal is aborted.
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 */
export async function pause(milliseconds, signal) {
  // Any number may wait at a time.
  setMaxListeners(0, signal);
  await sleep(Math.max(milliseconds, 0), undefined, { ref: false, signal }).catch(() => {});
}

/**
 * Returns an agent that keeps connections to a URL open.
 * @param {URL} url
 * @param {import('./certificates.js').Files} [files]
 * @returns {http.Agent}
 */
export function agentFor(url, files = {}) {
  return url.protocol === 'https:' ? new CertifiedAgent(files) : new http.Agent({ keepAlive: true });
}

/**
 * Sends a request: a POST if there is `content`, otherwise a GET. Rejects with a {@link NodeError}.
 * @param {URL} url
 * @param {import('./connection.js').Request & { agent: http.Agent }} request
 * @returns {Promise<Answer>}
 */
export function exchange(url, { peer, agent, headers, content, firstByte, lastByte = firstByte, maxBytes, signal }) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(failed.closed());
      return;
    }
    // Each request listens, and there may be any number at a time.
    setMaxListeners(0, signal);
    const { request: send } = url.protocol === 'https:' ? https : http;
    const length = content && { 'content-length': content.length };
    const began = performance.now();
    const request = send(url, { method: content ? 'POST' : 'GET', agent, headers: { ...headers, ...length }, signal });

    /** @param {unknown} cause */
    const fail = (cause) => {
      clearTimeout(timer);
      request.destroy();
      if (cause instanceof NodeError) reject(cause);
      else if (signal.aborted) reject(failed.closed());
      else reject(failed.unreachable(peer, cause));
    };
    const tooSlow = () => fail(failed.slow(peer));
    let timer = setTimeout(tooSlow, firstByte);
    timer.unref();

    request.on('error', fail);
    request.on('socket', (socket) => socket.unref());
    request.on('response', (response) => {
      clearTimeout(timer);
      timer = setTimeout(tooSlow, began + lastByte - performance.now());
      timer.unref();
      /** @type {Buffer[]} */
      const chunks = [];
      let size = 0;
      response.on('error', fail);
      response.on('aborted', () => fail(new Error('the answer was cut off')));
      response.on('data', (/** @type {Buffer} */ chunk) => {
        size += chunk.length;
        if (size > maxBytes) fail(failed.large(peer));
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
