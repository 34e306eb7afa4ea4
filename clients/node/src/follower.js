/**
 * Keeps the revocations in memory up to date.
 *
 * Everything that was acknowledged before a read was *sent* is in its response. The follower therefore takes the moment before it sends the
 * read. Once the last page is in memory, the memory is complete as of that moment, less the age that the node reports. A late response
 * proves nothing about a later time.
 *
 * The cursor of a page is sent only once the page is in memory, so that a node that waits for its followers (`?wait=everywhere`) can treat
 * it as an acknowledgement.
 */

import { failed, refusal } from './connection.js';
import { NodeError } from './errors.js';
import { MEDIA_TYPE, Page } from './page.js';
import { breathe, soon } from './soon.js';
import { Waiting } from './waiting.js';

/** The delay after a failed read, in milliseconds; doubled up to the maximum. */
const MIN_RETRY_DELAY = 20;
const MAX_RETRY_DELAY = 500;

/** The maximum delay after the node has rejected the client, which only an operator can correct. */
const REFUSED_RETRY = 5000;

/** How many entries are applied before the clock is read. */
const PIECE = 128;

/** How long entries are applied before other tasks go on, in milliseconds. */
const MAX_PIECE_TIME = 2;

/** The maximum time that a node holds a request, in milliseconds. */
const MAX_WAIT = 30_000;

/** How long a response may take beyond its `wait`, in milliseconds: at least, with no `wait`, and at most. */
const MIN_GRACE = 500;
const NO_WAIT_GRACE = 2000;
const MAX_GRACE = 10_000;

/** How much longer a page may take once it has begun, in milliseconds, until the whole log has been read once: it is long. */
const FIRST_LOG_GRACE = 10_000;

/** @typedef {import('./events.js').Event} Event */

/**
 * @typedef {object} Settings
 * @property {number} maxStaleness
 * @property {'reject' | 'accept'} stalePolicy
 * @property {string | undefined} issuer the issuer of tokens without `iss`; by default the node
 */

export class Follower {
  /** A random id for each object, so that each process and each worker is a follower of its own. */
  id = crypto.randomUUID();
  /** @type {string | undefined} */
  cursor;
  /** The node's own `max_staleness`, in milliseconds, once it is known. @type {number | undefined} */
  nodeBound;
  /** The error of the last read. @type {NodeError | undefined} */
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
  /** Whether {@link run} has been called. */
  #runs = false;
  /** The delay after the next failure. */
  #retry = MIN_RETRY_DELAY;
  /** The level of the event about the current outage. @type {'warn' | 'error' | undefined} */
  #reported;
  /** @type {Promise<void> | undefined} */
  #refreshing;
  #waiting = new Waiting();

  /**
   * @param {import('./connection.js').Peer} connection
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
    // A quarter of the bound: one read may fail and be repeated before the memory is stale.
    this.#wait = Math.min(Math.floor(settings.maxStaleness / 4), MAX_WAIT);
    this.#grace = this.#shortestGrace;
  }

  /** Follows until the connection is closed. */
  async run() {
    this.#runs = true;
    while (!this.#connection.isClosed) {
      // After a failure, or at the start, the follower wants an immediate response.
      await this.#attempt(this.isReady && this.failure === undefined ? this.#wait : 0);
    }
    this.#waiting.end(failed.closed());
  }

  /**
   * Reads up to the end of the log once. After a failure, waits before it resolves.
   * @param {number} wait
   * @param {number} [firstByte]
   */
  async #attempt(wait, firstByte) {
    try {
      await this.#catchUp(wait, firstByte);
      this.#retry = MIN_RETRY_DELAY;
      this.#succeeded();
    } catch (error) {
      if (this.#connection.isClosed) return;
      const failure = error instanceof NodeError ? error : new NodeError('ADIEU_ANSWER', 'the feed could not be taken in', { cause: error });
      this.#failed(failure);
      // With jitter, so that the followers do not all return at once when the node is back.
      await this.#connection.pause((failure.isPermanent ? REFUSED_RETRY : this.#retry) * (0.5 + Math.random() / 2));
      this.#retry = Math.min(this.#retry * 2, MAX_RETRY_DELAY);
    }
  }

  /**
   * Resolves once the whole log has been read; rejects if the node rejects the client for a permanent reason, or after the timeout of a
   * follower that runs.
   * @param {number} [timeout] in milliseconds
   * @returns {Promise<void>}
   */
  ready(timeout) {
    if (this.isReady) return Promise.resolve();
    if (this.#connection.isClosed) return Promise.reject(failed.closed());
    if (this.failure?.isPermanent) return Promise.reject(this.failure);
    if (!this.#runs) return this.#refreshed();
    return this.#waiting.wait(timeout, () => {
      const why = this.failure;
      return new NodeError('ADIEU_TIMEOUT', `not ready after ${timeout} ms${why ? `: ${why.message}` : ''}`, { cause: why });
    });
  }

  /** Like {@link ready}, without waiting for a read that has not begun. */
  async #refreshed() {
    await this.#refreshing;
    if (!this.isReady) throw this.failure ?? new NodeError('ADIEU_UNREACHABLE', 'the log has not been read yet');
  }

  /**
   * Reads and applies the current end of the log, once, beside the read that may be waiting. Revocations only accumulate, so the two reads
   * do not interfere; only the other one advances the cursor and the freshness.
   * @param {number} until when it gives up, by the monotonic clock
   */
  async peek(until) {
    // Half of the time, so that a silent connection leaves time for another.
    const firstByte = (until - performance.now()) / 2;
    // No other read would keep the cursor, so each peek would read the whole log.
    if (!this.#runs && !this.isReady && !this.failure?.isPermanent) await this.refresh(firstByte);
    const since = this.#freshness.now();
    const query = new URLSearchParams({ wait: '20' });
    let cursor = this.cursor;
    for (;;) {
      if (cursor !== undefined) query.set('after', cursor);
      const asked = this.#freshness.now();
      const page = await this.#read(query, firstByte);
      await this.#takeIn(page);
      // A node may answer from slightly old memory, and reports its age.
      if (page.complete && asked.monotonic - page.age >= since.monotonic) return;
      if (page.complete && asked.monotonic > until) {
        throw new NodeError('ADIEU_UNAVAILABLE', `the node at ${this.#connection.url} has had no news itself for too long`);
      }
      cursor = page.cursor;
    }
  }

  /**
   * Yields the entries of the log after a cursor, in order, until the caller stops or the timeout has passed.
   * @param {string | undefined} cursor
   * @param {number} timeout in milliseconds
   */
  async *entriesAfter(cursor, timeout) {
    const until = performance.now() + timeout;
    const query = new URLSearchParams({ wait: '20' });
    while (performance.now() < until) {
      if (cursor !== undefined) query.set('after', cursor);
      const page = await this.#read(query, Math.max(until - performance.now(), MIN_GRACE));
      yield* page.entries();
      cursor = page.cursor;
    }
  }

  /**
   * Reads the end of the log at once, beside the read that may be waiting, and one time for all concurrent callers. Resolves also if that
   * failed, after a delay.
   * @param {number} firstByte how many milliseconds each response may take
   * @returns {Promise<void>}
   */
  refresh(firstByte) {
    this.#refreshing ??= this.#refresh(firstByte).finally(() => (this.#refreshing = undefined));
    return this.#refreshing;
  }

  /** @param {number} firstByte */
  async #refresh(firstByte) {
    // No other read will do it. If the network is slow, the timeout grows with each attempt.
    if (!this.#runs) return this.#attempt(0, Math.max(firstByte, this.#grace));
    await (this.isReady ? this.#catchUp(0, firstByte) : this.ready()).catch(() => {});
    if (this.#freshness.staleness > this.#settings.maxStaleness) await this.#connection.pause(MIN_RETRY_DELAY);
  }

  /**
   * Reads up to the end of the log. Two of these may run at a time: everything before the cursor is in memory, whichever has set it.
   * @param {number} wait how long the node may hold the first request
   * @param {number} [firstByte]
   */
  async #catchUp(wait, firstByte) {
    for (;;) {
      const asked = this.#freshness.now();
      const page = await this.#readInTime(wait, firstByte);
      if (page.fromStart && this.cursor !== undefined) {
        this.#emit({
          type: 'log_changed',
          level: 'error',
          message: `the revocation log was replaced or rolled back (known ${this.cursor}, found ${page.cursor}); known revocations stay in force`,
        });
      }
      await this.#takeIn(page);
      this.cursor = page.cursor;
      this.nodeBound = page.maxStaleness;
      if (page.complete) {
        this.#freshness.completeAsOf(asked, page.age);
        return;
      }
      wait = 0;
    }
  }

  /**
   * @param {number} wait
   * @param {number} [firstByte]
   */
  async #readInTime(wait, firstByte = wait === 0 ? Math.max(this.#grace, NO_WAIT_GRACE) : wait + this.#grace) {
    const { maxStaleness, stalePolicy } = this.#settings;
    const query = new URLSearchParams({ wait: String(wait), follower: this.id, max_staleness: String(maxStaleness) });
    if (this.cursor !== undefined) query.set('after', this.cursor);
    if (stalePolicy === 'accept') query.set('stale_policy', 'accept');
    const began = performance.now();
    try {
      const page = await this.#read(query, firstByte, this.isReady ? firstByte : firstByte + FIRST_LOG_GRACE);
      const latency = performance.now() - began - wait;
      if (latency >= 0) this.#grace = Math.max(this.#shortestGrace, Math.min(this.#grace, 3 * latency));
      return page;
    } catch (error) {
      // A silent connection is closed while there is time for another. If the network is slow, the timeout grows with each attempt.
      if (error instanceof NodeError && error.code === 'ADIEU_TIMEOUT') this.#grace = Math.min(this.#grace * 2, MAX_GRACE);
      throw error;
    }
  }

  /**
   * @param {URLSearchParams} query
   * @param {number} firstByte
   * @param {number} [lastByte]
   */
  async #read(query, firstByte, lastByte = firstByte) {
    const answer = await this.#connection.ask(`revocations?${query}`, { firstByte, lastByte, accept: MEDIA_TYPE });
    if (answer.status !== 200) throw refusal(answer, this.#connection.url);
    const page = new Page(answer.body);
    if (!continues(page, query.get('after'))) {
      throw new NodeError('ADIEU_ANSWER', 'the page does not continue the log from where it was read');
    }
    if (!page.complete && page.cursor === query.get('after')) throw new NodeError('ADIEU_ANSWER', 'the feed does not get on');
    this.#revocations.nameNode(page.issuer);
    return page;
  }

  /**
   * Applies a page in pieces, and yields to other tasks in between. If the page turns out to be invalid, the revocations before the error stay
   * in force, and the cursor stays where it was.
   * @param {Page} page
   */
  async #takeIn(page) {
    this.#revocations.raisePrunedThrough(page.prunedThrough);
    let began = performance.now();
    while (!page.readSome(PIECE, this.#revocations)) {
      if (performance.now() - began < MAX_PIECE_TIME) continue;
      // Not unreferenced: with nothing else to do, the loop would sleep before it.
      await breathe();
      began = performance.now();
    }
    this.#forget();
  }

  /** Removes lapsed revocations in short steps, and yields to other tasks in between. */
  #forget() {
    if (this.#forgetting || this.#revocations.forgetSome()) return;
    this.#forgetting = true;
    soon(() => {
      this.#forgetting = false;
      this.#forget();
    });
  }

  #succeeded() {
    if (this.failure && this.isReady) {
      this.#emit({ type: 'following', level: 'info', message: `following ${this.#connection.url} again` });
    }
    this.failure = undefined;
    this.#reported = undefined;
    if (!this.isReady) {
      this.isReady = true;
      const count = this.#revocations.size;
      this.#emit({ type: 'ready', level: 'info', message: `following ${this.#connection.url}, ${count} revocations known` });
    }
    this.#waiting.end();
  }

  /** @param {NodeError} failure */
  #failed(failure) {
    // Emits one event per outage, not one per retry, and another if only an operator can end it.
    const level = failure.isPermanent ? 'error' : 'warn';
    if (this.#reported === undefined || (this.#reported === 'warn' && level === 'error')) {
      this.#reported = level;
      this.#emit({ type: 'failing', level, message: failure.message, error: failure });
    }
    this.failure = failure;
    if (failure.isPermanent) this.#waiting.end(failure);
  }

  get #shortestGrace() {
    return Math.min(Math.max(this.#settings.maxStaleness / 4, MIN_GRACE), MAX_GRACE);
  }
}

/**
 * Returns whether nothing can be missing between the cursor of the request and the page.
 * @param {Page} page
 * @param {string | null} after
 */
function continues(page, after) {
  if (page.fromStart || after === null) return page.fromStart;
  const end = (/** @type {string} */ cursor) => cursor.lastIndexOf('.') + 1;
  const isSameLog = page.cursor.slice(0, end(page.cursor)) === after.slice(0, end(after));
  return isSameLog && Number(page.cursor.slice(end(page.cursor))) >= Number(after.slice(end(after)));
}
