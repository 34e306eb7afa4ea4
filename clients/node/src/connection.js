/** Requests to a node. The secret goes to the configured address only, and an error contains at most the address without its credentials. */

import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

import { NodeError, UsageError } from './errors.js';
import { agentFor, exchange } from './exchange.js';

/** The maximum length of a response. A node sends no longer pages. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

/** The version of this package. Each request states it. */
const VERSION = '0.1.0';

/** @typedef {import('./exchange.js').Answer} Answer */

/** What a follower needs of a node. @typedef {Pick<Connection, 'url' | 'isClosed' | 'close' | 'pause' | 'ask'>} Peer */

export class Connection {
  #base;
  #authorization;
  #agent;
  #closing = new AbortController();

  /**
   * @param {string | URL} url
   * @param {string} clientId
   * @param {string} secret
   */
  constructor(url, clientId, secret) {
    const base = new URL(url);
    if (base.protocol !== 'http:' && base.protocol !== 'https:') throw new UsageError('url: must be http or https');
    // Credentials in an address would end up in logs.
    if (base.username || base.password) throw new UsageError('url: give the credentials as clientId and secret');
    if (base.search || base.hash) throw new UsageError('url: must have no query and no fragment');
    if (!base.pathname.endsWith('/')) base.pathname += '/';
    this.#base = base;
    this.#authorization = `Basic ${Buffer.from(`${clientId}:${secret}`).toString('base64')}`;
    this.#agent = agentFor(base);
    // Each request listens, and there may be any number at a time.
    setMaxListeners(0, this.#closing.signal);
  }

  /** The address of the node. */
  get url() {
    return this.#base.href;
  }

  get isClosed() {
    return this.#closing.signal.aborted;
  }

  /** Cancels the current requests and all later ones. */
  close() {
    this.#closing.abort();
    this.#agent.destroy();
  }

  /**
   * Waits for a time, at most until the connection is closed.
   * @param {number} milliseconds
   */
  async pause(milliseconds) {
    await sleep(milliseconds, undefined, { ref: false, signal: this.#closing.signal }).catch(() => {});
  }

  /**
   * Sends a request. `firstByte` is how many milliseconds the response may take to begin.
   * @param {string} path with its query, and without a slash at the front
   * @param {{ firstByte: number, body?: unknown, accept?: string }} options
   * @returns {Promise<Answer>}
   */
  ask(path, { firstByte, body, accept = 'application/json' }) {
    const content = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    /** @type {Record<string, string | number>} */
    const headers = { accept, authorization: this.#authorization, 'user-agent': `adieu-node/${VERSION}` };
    if (content) {
      headers['content-type'] = 'application/json';
      headers['content-length'] = content.length;
      // The client waits until a cut-off is over, by the clock of this machine, so the node should not (RFC 7240).
      headers.prefer = 'wait=0';
    }
    const peer = `the node at ${this.url}`;
    const { signal } = this.#closing;
    const maxBytes = MAX_ANSWER_BYTES;
    return exchange(new URL(path, this.#base), { peer, agent: this.#agent, headers, content, firstByte, maxBytes, signal });
  }

  /** Keeps the secret out of the output of `util.inspect`. */
  toJSON() {
    return { url: this.url };
  }
}

/**
 * Returns the error for a response other than success.
 * @param {Answer} answer
 * @param {string} url
 */
export function refusal({ status, body }, url) {
  const why =
    {
      401: 'does not know this client and secret',
      403: 'does not let this client do that; see `adieu client add --capabilities`',
      404: 'has no such route; is it an Adieu node?',
    }[status] ?? `answered ${status}`;
  const code = status >= 400 && status < 500 && status !== 408 && status !== 429 ? 'ADIEU_REJECTED' : 'ADIEU_UNAVAILABLE';
  return new NodeError(code, `the node at ${url} ${why}${details(body.toString())}`, { nodeStatus: status });
}

/** Returns the node's message about the request, if there is one. @param {string} text */
function details(text) {
  try {
    const { errors, message } = JSON.parse(text);
    const said = errors ? JSON.stringify(errors) : message;
    return typeof said === 'string' ? `: ${said.slice(0, 500)}` : '';
  } catch {
    return '';
  }
}
