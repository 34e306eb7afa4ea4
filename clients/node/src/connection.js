/** Requests to a node. The secret goes to the configured address only, and an error contains at most the address without its credentials. */

import { NodeError, UsageError } from './errors.js';

/** The maximum length of a response. A node sends no longer pages. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

/** The version of this package. Each request states it. */
const VERSION = '0.1.0';

const utf8 = new TextEncoder();

/** @typedef {{ status: number, headers: Record<string, string | string[] | undefined>, body: Uint8Array }} Answer */

/**
 * One HTTP request: a POST if there is `content`, otherwise a GET.
 * @typedef {object} Request
 * @property {string} peer who answers, for error messages
 * @property {Record<string, string>} headers
 * @property {Uint8Array | undefined} [content]
 * @property {number} firstByte how many milliseconds the response may take to begin
 * @property {number} [lastByte] how many milliseconds the whole response may take; `firstByte` unless set
 * @property {number} maxBytes the maximum length of the response
 * @property {AbortSignal} signal
 */

/**
 * How a runtime sends requests. Neither function keeps the process alive.
 * @typedef {object} Transport
 * @property {(url: URL, request: Request) => Promise<Answer>} exchange follows no redirect; rejects with a {@link NodeError}
 * @property {(milliseconds: number, signal: AbortSignal) => Promise<void>} pause resolves after a time, or when the signal is aborted
 * @property {() => void} close closes the open connections
 */

/** What a follower needs of a node. @typedef {Pick<Connection, 'url' | 'isClosed' | 'close' | 'pause' | 'ask'>} Peer */

export class Connection {
  #base;
  #authorization;
  #transport;
  #closing = new AbortController();

  /**
   * @param {string | URL} url
   * @param {string} clientId
   * @param {string} secret
   * @param {(url: URL) => Transport} transportFor
   */
  constructor(url, clientId, secret, transportFor) {
    const base = URL.canParse(String(url)) ? new URL(url) : undefined;
    if (base?.protocol !== 'http:' && base?.protocol !== 'https:') throw new UsageError('url: must be an http or https URL');
    // Credentials in an address would end up in logs.
    if (base.username || base.password) throw new UsageError('url: give the credentials as clientId and secret');
    if (base.search || base.hash) throw new UsageError('url: must have no query and no fragment');
    if (!base.pathname.endsWith('/')) base.pathname += '/';
    this.#base = base;
    this.#authorization = `Basic ${btoa(String.fromCharCode(...utf8.encode(`${clientId}:${secret}`)))}`;
    this.#transport = transportFor(base);
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
    this.#transport.close();
  }

  /**
   * Waits for a time, at most until the connection is closed.
   * @param {number} milliseconds
   */
  pause(milliseconds) {
    return this.#transport.pause(milliseconds, this.#closing.signal);
  }

  /**
   * Sends a request. `firstByte` and `lastByte` are those of a {@link Request}.
   * @param {string} path with its query, and without a slash at the front
   * @param {{ firstByte: number, lastByte?: number, body?: unknown, accept?: string }} options
   * @returns {Promise<Answer>}
   */
  ask(path, { firstByte, lastByte, body, accept = 'application/json' }) {
    const content = body === undefined ? undefined : utf8.encode(JSON.stringify(body));
    /** @type {Record<string, string>} */
    const headers = { accept, authorization: this.#authorization, 'user-agent': `adieu-node/${VERSION}` };
    if (content) {
      headers['content-type'] = 'application/json';
      // The client waits until a cut-off is over, by the clock of this machine, so the node should not (RFC 7240).
      headers.prefer = 'wait=0';
    }
    const peer = `the node at ${this.url}`;
    const { signal } = this.#closing;
    const limits = { firstByte, lastByte, maxBytes: MAX_ANSWER_BYTES };
    return this.#transport.exchange(new URL(path, this.#base), { peer, headers, content, ...limits, signal });
  }

  /** Keeps the secret out of the output of `util.inspect`. */
  toJSON() {
    return { url: this.url };
  }
}

/** The statuses after which a retry would fail too: the request or the client is wrong. Others may come from what is in front of a node. */
const PERMANENT = [400, 401, 403, 422];

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
  const code = PERMANENT.includes(status) ? 'ADIEU_REJECTED' : 'ADIEU_UNAVAILABLE';
  return new NodeError(code, `the node at ${url} ${why}${details(textOf(body))}`, { nodeStatus: status });
}

/** The ways in which a request fails. `peer` is who was asked. */
export const failed = {
  closed: () => new NodeError('ADIEU_CLOSED', 'the blocklist has been closed'),
  /** @param {string} peer */
  slow: (peer) => new NodeError('ADIEU_TIMEOUT', `${peer} takes too long to answer`),
  /** @param {string} peer */
  large: (peer) => new NodeError('ADIEU_ANSWER', `the answer of ${peer} is too large`),
  /** @param {string} peer @param {unknown} cause */
  unreachable: (peer, cause) => {
    // Not `instanceof Error`: under jest, Node's own errors are of another class.
    const { code } = Object(cause);
    return new NodeError('ADIEU_UNREACHABLE', `${peer} can't be reached${code === undefined ? '' : ` (${code})`}`, { cause });
  },
};

/** Returns the text of a body. @param {Uint8Array} body */
export function textOf(body) {
  return new TextDecoder().decode(body);
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
