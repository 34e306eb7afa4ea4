/** A node in this process, for an application's own tests: the same rules, without a network. */

import { randomBytes } from 'node:crypto';

import { claimId } from './claims.js';
import { NodeError } from './errors.js';
import { pause } from './exchange.js';
import { Page } from './page.js';
import { writePage } from './page-writer.js';
import { IN_MEMORY } from './settings.js';

/** @typedef {import('./page.js').Entry} Entry */

/** The node's own issuer. */
const ISSUER = 'adieu';

/** How long a revocation without an end is kept, in seconds. */
const KEPT = 30 * 24 * 3600;

/** How long a revocation is kept after `exp`, in seconds. */
const KEPT_AFTER_EXPIRY = 120;

/** A follower may have any bound, in milliseconds. */
const MAX_STALENESS = 86_400_000;

/** The maximum number of entries of a page. */
const MAX_ENTRIES = 10_000;

const KINDS = /** @type {const} */ ({ token_id: 'token', session: 'session', subject: 'subject', claim: 'claim' });

/** Has the interface of a {@link import('./connection.js').Connection}, and keeps its log in an array. */
export class MemoryNode {
  url = IN_MEMORY;
  #log = randomBytes(8).toString('hex');
  /** @type {Entry[]} */
  #entries = [];
  #closing = new AbortController();
  /** Continues the requests that wait for an entry. @type {Set<(value?: unknown) => void>} */
  #waiting = new Set();

  get isClosed() {
    return this.#closing.signal.aborted;
  }

  close() {
    this.#closing.abort();
  }

  /** @param {number} milliseconds */
  pause(milliseconds) {
    return pause(milliseconds, this.#closing.signal);
  }

  /**
   * @param {string} path
   * @param {{ firstByte: number, body?: any, accept?: string }} options
   * @returns {Promise<import('./connection.js').Answer>}
   */
  async ask(path, { body }) {
    const query = new URL(path, 'memory:///').searchParams;
    if (body === undefined) await this.#news(query);
    if (this.isClosed) throw new NodeError('ADIEU_CLOSED', 'the blocklist has been closed');
    return body === undefined ? answer(200, this.#page(query)) : this.#revoke(body, query);
  }

  /** Waits for an entry after the cursor, for as long as a request may. @param {URLSearchParams} query */
  async #news(query) {
    if (!query.has('after') || this.#entries.length > position(query)) return;
    /** @type {(value?: unknown) => void} */
    let wake = () => {};
    const woken = new Promise((resolve) => this.#waiting.add((wake = resolve)));
    await Promise.race([this.pause(Number(query.get('wait'))), woken]);
    this.#waiting.delete(wake);
  }

  /** @param {URLSearchParams} query */
  #page(query) {
    const start = position(query);
    const entries = this.#entries.slice(start, start + MAX_ENTRIES);
    const end = start + entries.length;
    const flags = (end === this.#entries.length ? 1 : 0) + (query.has('after') ? 0 : 2);
    return writePage(entries, { flags, age: 0, maxStaleness: MAX_STALENESS, issuer: ISSUER, log: this.#log, position: end });
  }

  /**
   * @param {any} body
   * @param {URLSearchParams} query
   */
  #revoke(body, query) {
    const now = Math.floor(Date.now() / 1000);
    /** @type {Entry[]} */
    const entries = [];
    for (const { issuer = ISSUER, keep_until: keepUntil = now + KEPT, ...target } of body.revocations ?? [body]) {
      const [name, value] = /** @type {[keyof typeof KINDS, any]} */ (Object.entries(target)[0]);
      const kind = KINDS[name];
      const id = kind === 'claim' ? claimId(value.name, value.value) : value;
      const issuedUntil = kind === 'subject' || kind === 'claim' ? now : 0;
      entries.push({ issuer, kind, id, issuedUntil, lapsesAt: keepUntil + KEPT_AFTER_EXPIRY });
    }
    if (!entries.every(isReadable)) return answer(422, Buffer.from('{"message":"A revocation is invalid."}'));
    for (const entry of entries) this.#entries.push(entry);
    for (const wake of this.#waiting) wake();
    const everywhere = query.has('wait') ? { everywhere: { acknowledged: 1, waited_out: 0, unbounded: 0 } } : {};
    return answer(200, Buffer.from(JSON.stringify({ message: 'Revoked.', ...everywhere })));
  }
}

/** @param {number} status @param {Buffer} body */
function answer(status, body) {
  return { status, headers: {}, body };
}

/** Returns whether a follower can read an entry: a page with one that it cannot would stop it for ever. @param {Entry} entry */
function isReadable(entry) {
  try {
    return new Page(writePage([entry])).entries().length === 1;
  } catch {
    return false;
  }
}

/** @param {URLSearchParams} query */
function position(query) {
  return Number(query.get('after')?.split('.')[1] ?? 0);
}
