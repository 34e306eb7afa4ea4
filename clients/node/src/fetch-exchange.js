/** HTTP requests with `fetch`, with the limits of Node's. For runtimes without Node's modules. */

import { failed } from './connection.js';
import { NodeError } from './errors.js';

/** Returns the transport. @returns {import('./connection.js').Transport} */
export function fetchTransport() {
  return { exchange, pause, close() {} };
}

/**
 * @param {URL} url
 * @param {import('./connection.js').Request} request
 * @returns {Promise<import('./connection.js').Answer>}
 */
async function exchange(url, { peer, headers, content, firstByte, lastByte = firstByte, maxBytes, signal }) {
  const ending = new AbortController();
  const end = () => ending.abort();
  let isLate = false;
  const tooSlow = () => {
    isLate = true;
    end();
  };
  const began = performance.now();
  let timer = setTimeout(tooSlow, firstByte);
  signal.addEventListener('abort', end);
  try {
    if (signal.aborted) throw failed.closed();
    const method = content ? 'POST' : 'GET';
    const response = await fetch(url, { method, headers, body: content ?? null, redirect: 'manual', signal: ending.signal });
    clearTimeout(timer);
    timer = setTimeout(tooSlow, began + lastByte - performance.now());
    const body = await readBody(response, maxBytes, peer);
    return { status: response.status, headers: Object.fromEntries(response.headers), body };
  } catch (cause) {
    if (cause instanceof NodeError) throw cause;
    if (signal.aborted) throw failed.closed();
    throw isLate ? failed.slow(peer) : failed.unreachable(peer, cause);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', end);
    end();
  }
}

/**
 * @param {Response} response
 * @param {number} maxBytes
 * @param {string} peer
 */
async function readBody(response, maxBytes, peer) {
  const reader = response.body?.getReader();
  /** @type {Uint8Array[]} */
  const chunks = [];
  let size = 0;
  for (;;) {
    const { done, value } = (await reader?.read()) ?? { done: true, value: undefined };
    if (done || value === undefined) break;
    size += value.length;
    if (size > maxBytes) throw failed.large(peer);
    chunks.push(value);
  }
  const body = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    body.set(chunk, at);
    at += chunk.length;
  }
  return body;
}

/**
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener('abort', end);
    if (signal.aborted) end();
  });
}
