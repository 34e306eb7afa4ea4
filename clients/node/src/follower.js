/**
 * What keeps the revocations in memory up to date.
 *
 * A read proves one thing: whatever was acknowledged before it was *sent* is in its answer. So the moment before sending is
 * taken, and once the last page is in memory everything is known as of then, less the age that the node gives for itself.
 * An answer that comes late proves nothing that it should not.
 *
 * The cursor of a page is sent only when the page is in memory, so that a node which waits for its followers
 * (`?wait=everywhere`) can take it for an acknowledgement.
 */

import { randomBytes } from 'node:crypto';

import { TimeoutError, refusal } from './connection.js';
import { NodeError } from './errors.js';
import { between } from './freshness.js';
import { readPage } from './page.js';

/** How long to wait after a read that failed, in milliseconds; doubled up to the slowest. */
const FIRST_RETRY = 20;
const SLOWEST_RETRY = 500;

/** The same when the node refused: that is put right by somebody, not by itself. */
const REFUSED_RETRY = 5000;

/** The longest that a node holds a request, in milliseconds. */
const LONGEST_WAIT = 30_000;

/** How long an answer may take beyond what it was allowed to wait, in milliseconds: at most, and when it may wait for nothing. */
const LONGEST_GRACE = 10_000;

/**
 * What happens, for a log.
 * @typedef {object} Event
 * @property {'ready' | 'failing' | 'following' | 'log_changed' | 'stale' | 'fresh' | 'clock_behind'} type
 * @property {'info' | 'warn' | 'error'} level
 * @property {string} message
 * @property {unknown} [error]
 */

/**
 * @typedef {object} Settings
 * @property {number} maxStaleness
 * @property {'refuse' | 'accept'} whenStale
 */

export class Follower {
  /** Drawn for each object, so that each process and each worker is a follower of its own. */
  id = randomBytes(16).toString('base64url');
  /** @type {string | undefined} */
  cursor;
  /** The node's own issuer, once it is known. @type {string | undefined} */
  issuer;
  /** The node's own `max_staleness`, in milliseconds, once it is known. @type {number | undefined} */
  nodeBound;
  /** Why the last read failed. @type {NodeError | undefined} */
  failure;
  isReady = false;

  #connection;
  #revocations;
  #freshness;
  #settings;
  #emit;
  #wait;
  #grace;
  #forgetting = false;
  /** @type {Set<{ resolve: () => void, reject: (error: NodeError) => void }>} */
  #waiting = new Set();

  /**
   * @param {import('./connection.js').Connection} connection
   * @param {import('./revocations.js').Revocations} revocations
   * @param {import('./freshness.js').Freshness} freshness
   * @param {Settings} settings
   * @param {(event: Event) => void} emit
   */
  constructor(connection, revocations, freshness, settings, emit) {
    this.#connection = connection;
    this.#revocations = revocations;
    this.#freshness = freshness;
    this.#settings = settings;
    this.#emit = emit;
    // A quarter: one read may fail and be repeated before anybody is refused.
    this.#wait = Math.min(Math.floor(settings.maxStaleness / 4), LONGEST_WAIT);
    this.#grace = this.#shortestGrace;
  }

  /** Follows until the connection is closed. */
  async run() {
    let retry = FIRST_RETRY;
    while (!this.#connection.isClosed) {
      try {
        await this.#catchUp();
        retry = FIRST_RETRY;
        this.#succeeded();
      } catch (error) {
        if (this.#connection.isClosed) break;
        const failure = error instanceof NodeError ? error : new NodeError('the feed could not be taken in', { cause: error });
        this.#failed(failure);
        // Not all at once, when many follow a node that has just come back.
        await this.#connection.pause((failure.isPermanent ? REFUSED_RETRY : retry) * (0.5 + Math.random() / 2));
        retry = Math.min(retry * 2, SLOWEST_RETRY);
      }
    }
    for (const { reject } of this.#waiting) reject(new NodeError('the blocklist has been closed'));
    this.#waiting.clear();
  }

  /**
   * Resolves when everything has been read once; rejects when the node refuses for a reason that does not pass by itself.
   * @returns {Promise<void>}
   */
  ready() {
    if (this.isReady) return Promise.resolve();
    if (this.#connection.isClosed) return Promise.reject(new NodeError('the blocklist has been closed'));
    if (this.failure?.isPermanent) return Promise.reject(this.failure);
    return new Promise((resolve, reject) => this.#waiting.add({ resolve, reject }));
  }

  /**
   * Takes in, once, what has come up to now, beside the read that may be waiting. Facts only add up, so the two don't get in
   * each other's way; only the other one moves the cursor and says how fresh this is.
   */
  async peek() {
    const since = this.#freshness.now();
    const query = new URLSearchParams({ wait: '20' });
    let cursor = this.cursor;
    for (;;) {
      if (cursor !== undefined) query.set('after', cursor);
      const asked = this.#freshness.now();
      const page = await this.#read(query, LONGEST_GRACE);
      this.#takeIn(page);
      // A node may answer from what it knew a moment ago, and says so. By the time that it could no longer be believed nothing
      // is accepted here anyway.
      if (page.complete && asked.monotonic - page.age >= since.monotonic) return;
      if (between(since, asked) > this.#settings.maxStaleness) return;
      cursor = page.cursor;
    }
  }

  /**
   * What the log has after a cursor, in its order; goes on until nobody wants more, or the time is over.
   * @param {string | undefined} cursor
   * @param {number} timeout in milliseconds
   */
  async *entriesAfter(cursor, timeout) {
    const until = performance.now() + timeout;
    const query = new URLSearchParams({ wait: '20' });
    while (performance.now() < until) {
      if (cursor !== undefined) query.set('after', cursor);
      const page = await this.#read(query, LONGEST_GRACE);
      yield* page.entries;
      cursor = page.cursor;
    }
  }

  async #catchUp() {
    // After a failure, or at the start, it is the answer that is wanted, and at once.
    let wait = this.isReady && this.failure === undefined ? this.#wait : 0;
    for (;;) {
      const asked = this.#freshness.now();
      const page = await this.#readInTime(wait);
      if (page.fromStart && this.cursor !== undefined) {
        this.#emit({
          type: 'log_changed',
          level: 'error',
          message: `the revocation log is another one or went back (known ${this.cursor}, found ${page.cursor}); everything known stays revoked`,
        });
      }
      if (!page.complete && page.cursor === this.cursor) throw new NodeError('the feed does not get on');
      this.#takeIn(page);
      this.cursor = page.cursor;
      this.issuer = page.issuer;
      this.nodeBound = page.maxStaleness;
      if (page.complete) {
        this.#freshness.completeAsOf(asked, page.age);
        return;
      }
      wait = 0;
    }
  }

  /** @param {number} wait */
  async #readInTime(wait) {
    const { maxStaleness, whenStale } = this.#settings;
    const query = new URLSearchParams({ wait: String(wait), follower: this.id, max_staleness: String(maxStaleness) });
    if (this.cursor !== undefined) query.set('after', this.cursor);
    if (whenStale === 'accept') query.set('when_stale', 'accept');
    const began = performance.now();
    try {
      const page = await this.#read(query, wait === 0 ? Math.max(this.#grace, 2000) : wait + this.#grace);
      const latency = performance.now() - began - wait;
      if (latency >= 0) this.#grace = Math.max(this.#shortestGrace, Math.min(this.#grace, 3 * latency));
      return page;
    } catch (error) {
      // A connection that says nothing any more is given up while there is time for another. If it is the network that
      // is slow, patience finds out.
      if (error instanceof TimeoutError) this.#grace = Math.min(this.#grace * 2, LONGEST_GRACE);
      throw error;
    }
  }

  /**
   * @param {URLSearchParams} query
   * @param {number} firstByte
   */
  async #read(query, firstByte) {
    const answer = await this.#connection.ask(`revocations?${query}`, { firstByte });
    if (answer.status !== 200) throw refusal(answer, this.#connection.url);
    return readPage(answer.text);
  }

  /** @param {import('./page.js').Page} page */
  #takeIn(page) {
    this.#revocations.raisePrunedThrough(page.prunedThrough);
    for (const entry of page.entries) this.#revocations.add(entry);
    this.#forget();
  }

  /** In short steps, with others let in between. */
  #forget() {
    if (this.#forgetting || this.#revocations.forgetSome()) return;
    this.#forgetting = true;
    setImmediate(() => {
      this.#forgetting = false;
      this.#forget();
    }).unref();
  }

  #succeeded() {
    if (this.failure && this.isReady) {
      this.#emit({ type: 'following', level: 'info', message: `following ${this.#connection.url} again` });
    }
    this.failure = undefined;
    if (!this.isReady) {
      this.isReady = true;
      const count = this.#revocations.size;
      this.#emit({ type: 'ready', level: 'info', message: `following ${this.#connection.url}, ${count} revocations known` });
    }
    for (const { resolve } of this.#waiting) resolve();
    this.#waiting.clear();
  }

  /** @param {NodeError} failure */
  #failed(failure) {
    // Once an outage, not once a try.
    if (this.failure?.message !== failure.message) {
      const level = failure.isPermanent ? 'error' : 'warn';
      this.#emit({ type: 'failing', level, message: failure.message, error: failure });
    }
    this.failure = failure;
    if (failure.isPermanent) {
      for (const { reject } of this.#waiting) reject(failure);
      this.#waiting.clear();
    }
  }

  get #shortestGrace() {
    return Math.max(this.#settings.maxStaleness / 4, 100);
  }
}
