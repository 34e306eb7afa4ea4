/**
 * Callbacks when a token is revoked, and when the memory becomes stale or fresh again.
 *
 * The event loop calls them in a turn of their own: one that throws, rejects or is slow does not stop what adds revocations.
 */

import { UsageError } from './errors.js';
import { soon } from './soon.js';

/** @typedef {import('./revocations.js').Facts} Facts */
/** @typedef {() => unknown} Callback */
/** @typedef {{ readonly callback: Callback, readonly facts: Facts, readonly keys: readonly string[] }} Watch */

/** The maximum number of callbacks of a blocklist. */
const MAX_CALLBACKS = 100_000;

/** How long watched tokens are checked before other tasks go on, in milliseconds. */
const MAX_PIECE_TIME = 2;

/** How often a stale memory is looked at, and a fresh one at least, in milliseconds. */
const STALE_INTERVAL = 50;
const FRESH_INTERVAL = 1000;

/** The key of all watched tokens. */
const EVERYTHING = keyOf('everything', '');

export class Hooks {
  #revocations;
  #freshness;
  #maxStaleness;
  #emit;
  #count = 0;
  /** The watched tokens, by each revocation that may match. Of any issuer: a node may get another name. @type {Map<string, Set<Watch>>} */
  #watches = new Map();
  /** Those that one may just have matched. @type {Set<Watch>} */
  #touched = new Set();
  /** Whether that may be any of the watched tokens. */
  #allTouched = false;
  #checking = false;
  #isClosed = false;
  /** @type {Set<{ callback: Callback }>} */
  #whenStale = new Set();
  /** @type {Set<{ callback: Callback }>} */
  #whenFresh = new Set();
  #wasFresh = false;
  /** @type {NodeJS.Timeout | undefined} */
  #looking;

  /**
   * @param {import('./revocations.js').Revocations} revocations
   * @param {import('./freshness.js').Freshness} freshness
   * @param {number} maxStaleness
   * @param {(event: import('./events.js').Event) => void} emit
   */
  constructor(revocations, freshness, maxStaleness, emit) {
    this.#revocations = revocations;
    this.#freshness = freshness;
    this.#maxStaleness = maxStaleness;
    this.#emit = emit;
  }

  /**
   * Calls back once when a token is revoked. Returns a function that ends this.
   * @param {Facts} facts
   * @param {Callback} callback
   */
  watch(facts, callback) {
    this.#count = admitted(this.#count, callback);
    const watch = { callback, facts, keys: keysOf(facts) };
    for (const each of watch.keys) {
      const watches = this.#watches.get(each);
      if (watches === undefined) this.#watches.set(each, new Set([watch]));
      else watches.add(watch);
    }
    this.#revocations.onAdd = (kind, _, id) => {
      if (kind === 'everything' || kind === 'claim') {
        this.#allTouched = true;
        this.#checkSoon();
      } else for (const touched of this.#watches.get(keyOf(kind, id)) ?? []) this.#touch(touched);
    };
    // The token may have been revoked before.
    this.#touch(watch);
    return () => void this.#remove(watch);
  }

  /**
   * Calls back whenever the memory becomes fresh again, or stale, and soon if it is stale already. Returns a function that ends this.
   * @param {'fresh' | 'stale'} state
   * @param {Callback} callback
   */
  when(state, callback) {
    this.#count = admitted(this.#count, callback);
    const callbacks = state === 'fresh' ? this.#whenFresh : this.#whenStale;
    const one = { callback };
    callbacks.add(one);
    if (this.#looking === undefined) {
      // A memory that is stale already is reported too.
      this.#wasFresh = true;
      this.#look();
    } else if (state === 'stale' && !this.#wasFresh) {
      // The others have been called.
      soon(() => {
        if (callbacks.has(one) && !this.#isClosed && this.#left < 0) this.#call(callback);
      });
    }
    return () => {
      if (callbacks.delete(one)) this.#count -= 1;
    };
  }

  /** Calls nothing any more. */
  close() {
    clearTimeout(this.#looking);
    this.#isClosed = true;
    this.#revocations.onAdd = undefined;
  }

  /** @param {Watch} watch */
  #touch(watch) {
    this.#touched.add(watch);
    this.#checkSoon();
  }

  #checkSoon() {
    if (this.#checking) return;
    this.#checking = true;
    soon(() => this.#checkSome());
  }

  #checkSome() {
    this.#checking = false;
    if (this.#isClosed) return;
    if (this.#allTouched) {
      for (const watch of this.#watches.get(EVERYTHING) ?? []) this.#touched.add(watch);
      this.#allTouched = false;
    }
    const until = performance.now() + MAX_PIECE_TIME;
    for (const watch of this.#touched) {
      this.#touched.delete(watch);
      if (this.#revocations.check(watch.facts) !== undefined && this.#remove(watch)) this.#call(watch.callback);
      if (performance.now() > until) break;
    }
    const [next] = this.#touched;
    if (next !== undefined) this.#touch(next);
  }

  /** Returns whether it was there. @param {Watch} watch */
  #remove(watch) {
    let isThere = false;
    for (const each of watch.keys) {
      const watches = this.#watches.get(each);
      isThere = watches?.delete(watch) ?? false;
      if (watches?.size === 0) this.#watches.delete(each);
    }
    if (isThere) this.#count -= 1;
    if (this.#watches.size === 0) this.#revocations.onAdd = undefined;
    return isThere;
  }

  /** How long the memory will be fresh without news, in milliseconds; negative if it is stale. */
  get #left() {
    return this.#maxStaleness - this.#freshness.staleness;
  }

  /** Looks later whether the memory is fresh, as long as there are callbacks. */
  #look() {
    this.#looking = setTimeout(() => {
      this.#looking = undefined;
      if (this.#whenStale.size + this.#whenFresh.size === 0) return;
      const isFresh = this.#left >= 0;
      const callbacks = isFresh === this.#wasFresh ? [] : isFresh ? this.#whenFresh : this.#whenStale;
      this.#wasFresh = isFresh;
      this.#look();
      for (const { callback } of [...callbacks]) this.#call(callback);
    }, this.#wasFresh ? Math.max(1, Math.min(this.#left + 1, FRESH_INTERVAL)) : STALE_INTERVAL);
    this.#looking.unref?.();
  }

  /** @param {Callback} callback */
  async #call(callback) {
    try {
      await callback();
    } catch (error) {
      this.#emit({ type: 'callback_failed', level: 'error', message: 'a callback of the application failed', error });
    }
  }
}

/**
 * Returns the number of callbacks with one more.
 * @param {number} count
 * @param {unknown} callback
 */
function admitted(count, callback) {
  if (typeof callback !== 'function') throw new UsageError('the callback must be a function');
  if (count >= MAX_CALLBACKS) throw new UsageError(`there are ${MAX_CALLBACKS} callbacks; end those that are not needed any more`);
  return count + 1;
}

/** @param {Facts} facts */
function keysOf({ tokenId, session, subject, kid }) {
  const keys = [keyOf('token', tokenId), EVERYTHING];
  if (session !== undefined) keys.push(keyOf('session', session));
  if (subject !== undefined) keys.push(keyOf('subject', subject));
  if (kid !== undefined) keys.push(keyOf('key', kid));
  return keys;
}

/** @param {string} kind @param {string} id */
function keyOf(kind, id) {
  return `${kind} ${id}`;
}
