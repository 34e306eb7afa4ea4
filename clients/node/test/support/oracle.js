/**
 * The revocations in maps, which the index in typed arrays must agree with.
 *
 * Revocations only accumulate. They are removed by the node's mark (`pruned_through`), never by a clock of this machine, so that a clock
 * that jumps cannot revive a token.
 */

/** @typedef {import('../../src/page.js').Entry} Entry */

/**
 * The verified claims that a check needs.
 * @typedef {object} Facts
 * @property {string} issuer
 * @property {string} tokenId
 * @property {string | undefined} session
 * @property {string | undefined} subject
 * @property {number | undefined} issuedAt without one every cut-off applies
 * @property {number} expiresAt
 * @property {string | undefined} [kid]
 * @property {object} [claims]
 */

/** The kind of revocation that matched. `forgotten`: a revocation of the token may have been removed, so it counts as expired.
 * @typedef {'token' | 'session' | 'subject' | 'everything' | 'key' | 'claim' | 'forgotten'} RevokedBy
 */

/** How long a revocation is kept after `exp` at least: the maximum leeway of a verifier, and a minute. In seconds. */
const KEPT_AFTER_EXPIRY = 120;

/** The number of revocations in one step of removal. A step takes well under a millisecond, and more when a `Map` shrinks. */
const STEP = 512;

/** Revocations that lapse within this many seconds are removed together. */
const SLOT = 64;

export class Oracle {
  /** @type {Map<string, Issuer>} */
  #issuers = new Map();
  /**
   * Revocations of this process that the feed has not brought yet: when they lapse is not known yet.
   * @type {Set<string>}
   */
  #own = new Set();
  #prunedThrough = 0;

  /** The number of known revocations. */
  get size() {
    let size = this.#own.size;
    for (const issuer of this.#issuers.values()) size += issuer.size;
    return size;
  }

  get prunedThrough() {
    return this.#prunedThrough;
  }

  /** @param {number} mark */
  raisePrunedThrough(mark) {
    this.#prunedThrough = Math.max(this.#prunedThrough, mark);
  }

  /** @param {Entry} entry */
  add(entry) {
    if (this.#own.size > 0) this.#own.delete(key(entry.kind, entry.issuer, entry.id));
    if (entry.lapsesAt <= this.#prunedThrough && entry.kind !== 'key') return;
    let issuer = this.#issuers.get(entry.issuer);
    if (issuer === undefined) this.#issuers.set(entry.issuer, (issuer = new Issuer()));
    issuer[entry.kind].put(entry.id, entry.lapsesAt, entry.issuedUntil);
  }

  /**
   * Adds a revocation of this process, until the feed brings it.
   * @param {'token' | 'session'} kind
   * @param {string} issuer
   * @param {string} id
   */
  addOwn(kind, issuer, id) {
    if (!this.#issuers.get(issuer)?.[kind].has(id)) this.#own.add(key(kind, issuer, id));
  }

  /**
   * Returns the last revoked `iat` of a subject; 0 if there is none.
   * @param {string} issuer
   * @param {string} subject
   */
  cutOff(issuer, subject) {
    return this.#issuers.get(issuer)?.subject.until(subject) ?? 0;
  }

  /**
   * @param {Facts} token
   * @returns {RevokedBy | undefined}
   */
  check(token) {
    const { issuer: name, tokenId, session, subject, issuedAt } = token;
    const issuer = this.#issuers.get(name);
    if (issuer !== undefined) {
      if (issuer.token.has(tokenId)) return 'token';
      if (session !== undefined && issuer.session.has(session)) return 'session';
      if (subject !== undefined && issuer.subject.cutsOff(subject, issuedAt)) return 'subject';
      if (issuer.everything.cutsOff('', issuedAt)) return 'everything';
      if (token.kid !== undefined && issuer.key.has(token.kid)) return 'key';
      for (const [claim, value] of Object.entries(token.claims ?? {})) {
        for (const one of Array.isArray(value) ? value : [value]) {
          const isText = ['string', 'boolean'].includes(typeof one) || Number.isSafeInteger(one);
          // A zero has no sign as text.
          if (isText && issuer.claim.cutsOff(`${claim}\x1f${one}`, issuedAt)) return 'claim';
        }
      }
    }
    if (this.#own.size > 0) {
      if (this.#own.has(key('token', name, tokenId))) return 'token';
      if (session !== undefined && this.#own.has(key('session', name, session))) return 'session';
    }
    return token.expiresAt + KEPT_AFTER_EXPIRY <= this.#prunedThrough ? 'forgotten' : undefined;
  }

  /** Removes some of the lapsed revocations. Returns whether those were all. */
  forgetSome() {
    let left = STEP;
    for (const [name, issuer] of this.#issuers) {
      for (const shelf of [issuer.token, issuer.session, issuer.subject, issuer.everything, issuer.claim]) {
        left = shelf.forget(this.#prunedThrough, left);
        if (left <= 0) return false;
      }
      if (issuer.size === 0) this.#issuers.delete(name);
    }
    return true;
  }
}

/**
 * @param {string} kind
 * @param {string} issuer
 * @param {string} id
 */
function key(kind, issuer, id) {
  return JSON.stringify([kind, issuer, id]);
}

/** Revocations by id, and by the time at which they lapse. */
class Shelf {
  /** @type {Map<string, number>} */
  lapses = new Map();
  /**
   * The ids that may lapse in a slot of time. An id whose time was extended is in several slots; the last one counts.
   * @type {Map<number, string[]>}
   */
  #slots = new Map();

  get size() {
    return this.lapses.size;
  }

  /** @param {string} id */
  has(id) {
    return this.lapses.has(id);
  }

  /**
   * @param {string} id
   * @param {number} lapsesAt
   * @param {number} _issuedUntil
   */
  put(id, lapsesAt, _issuedUntil) {
    const known = this.lapses.get(id);
    if (known !== undefined && known >= lapsesAt) return;
    this.lapses.set(id, lapsesAt);
    const slot = Math.floor(lapsesAt / SLOT);
    const names = this.#slots.get(slot);
    if (names === undefined) this.#slots.set(slot, [id]);
    else names.push(id);
  }

  /**
   * Removes up to `most` of the revocations that lapsed by `until`, in whole slots. Returns how much of `most` is left.
   * @param {number} until
   * @param {number} most
   */
  forget(until, most) {
    for (const [slot, names] of this.#slots) {
      if ((slot + 1) * SLOT > until) continue;
      while (names.length > 0 && most > 0) {
        const id = /** @type {string} */ (names.pop());
        most -= 1;
        if (/** @type {number} */ (this.lapses.get(id)) <= until) this.drop(id);
      }
      if (names.length > 0) return 0;
      this.#slots.delete(slot);
    }
    return most;
  }

  /** @param {string} id */
  drop(id) {
    this.lapses.delete(id);
  }
}

/** Cut-offs, which revoke everything issued until a time. The latest of several counts. */
class CutOffs extends Shelf {
  /** @type {Map<string, number>} */
  #issuedUntil = new Map();

  /**
   * @override
   * @param {string} id
   * @param {number} lapsesAt
   * @param {number} issuedUntil
   */
  put(id, lapsesAt, issuedUntil) {
    super.put(id, lapsesAt, issuedUntil);
    this.#issuedUntil.set(id, Math.max(this.#issuedUntil.get(id) ?? 0, issuedUntil));
  }

  /**
   * @override
   * @param {string} id
   */
  drop(id) {
    super.drop(id);
    this.#issuedUntil.delete(id);
  }

  /** @param {string} id */
  until(id) {
    return this.#issuedUntil.get(id);
  }

  /**
   * @param {string} id
   * @param {number | undefined} issuedAt
   */
  cutsOff(id, issuedAt) {
    const issuedUntil = this.#issuedUntil.get(id);
    // The cut-off includes its whole second.
    return issuedUntil !== undefined && (issuedAt === undefined || Math.floor(issuedAt) <= issuedUntil);
  }
}

/** All revocations of one issuer. */
class Issuer {
  token = new Shelf();
  session = new Shelf();
  subject = new CutOffs();
  everything = new CutOffs();
  key = new Shelf();
  claim = new CutOffs();

  get size() {
    const shelves = [this.token, this.session, this.subject, this.everything, this.key, this.claim];
    return shelves.reduce((size, shelf) => size + shelf.size, 0);
  }
}
