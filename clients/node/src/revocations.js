/**
 * The revocations in memory.
 *
 * Revocations only accumulate. They are removed by the node's mark (`pruned_through`), never by a clock of this machine, so that a clock
 * that jumps cannot revive a token.
 */

import { claimText, partsOfClaim } from './claims.js';
import { CutOffs } from './cut-offs.js';
import { Fingerprint } from './fingerprint.js';
import { Table } from './table.js';
import { uuidText } from './uuid.js';

/** @typedef {import('./page.js').Entry} Entry */

/**
 * The verified claims that a check needs.
 * @typedef {object} Facts
 * @property {string} issuer
 * @property {string} tokenId
 * @property {string | undefined} session
 * @property {string | undefined} subject
 * @property {number | undefined} issuedAt without one every cut-off applies
 * @property {number} expiresAt
 * @property {string | undefined} [kid] that of the key that has signed the token, if known
 * @property {object} [claims] all claims of the token, of which those are looked at that a revocation names
 */

/**
 * The kind of revocation that matched. `forgotten`: none did, but one may have been removed, so the token counts as expired.
 * @typedef {'token' | 'session' | 'subject' | 'everything' | 'key' | 'claim' | 'forgotten'} RevokedBy
 */

/** How long a revocation is kept after `exp` at least: the maximum leeway of a verifier, and a minute. In seconds. */
const KEPT_AFTER_EXPIRY = 120;

/** The number of cut-offs in one step of removal. */
const STEP = 2048;

/** How far the mark advances until lapsed revocations are removed, in seconds. */
const SWEEP_INTERVAL = 64;

export class Revocations {
  /** Called with each revocation that is added. @type {((kind: Entry['kind'], issuer: string, id: string) => void) | undefined} */
  onAdd;

  #fingerprint = new Fingerprint();
  /** @type {Map<string, Issuer>} */
  #issuers = new Map();
  /** The names that the node has had, which are one issuer: renaming a node must not revive what was revoked before. @type {string[]} */
  #names;
  /** The issuer of the last entry, since most entries have the same. @type {{ name: string, issuer: Issuer } | undefined} */
  #last;
  /**
   * Revocations of this process that the feed has not brought yet, with the time at which they lapse: infinite if only the node knows it.
   * The feed does not bring those that have lapsed by its mark.
   * @type {Map<string, number>}
   */
  #own = new Map();
  #prunedThrough = 0;
  /** The mark of the last sweep, and what the current one has still to visit. */
  #sweptThrough = 0;
  /** @type {((until: number) => boolean)[]} */
  #toSweep = [];

  /** @param {string[]} [names] the names that the node has had; shared, not copied */
  constructor(names = []) {
    this.#names = names;
  }

  /** The number of known revocations. */
  get size() {
    let size = this.#own.size;
    for (const issuer of this.#issuers.values()) size += issuer.size;
    return size;
  }

  /** The number of bytes of the tables. */
  get bytes() {
    let bytes = 0;
    for (const { token, session } of this.#issuers.values()) bytes += token.bytes + session.bytes;
    return bytes;
  }

  get prunedThrough() {
    return this.#prunedThrough;
  }

  /** @param {number} mark */
  raisePrunedThrough(mark) {
    this.#prunedThrough = Math.max(this.#prunedThrough, mark);
  }

  /** Adds a name of the node. @param {string} name */
  nameNode(name) {
    if (this.#names.includes(name)) return;
    this.#names.push(name);
    // Any token may have been revoked under this name.
    this.onAdd?.('everything', name, '');
  }

  /** @param {Entry} entry */
  add({ kind, issuer: name, id, issuedUntil, lapsesAt }) {
    if (this.#own.size > 0) this.#own.delete(key(kind, name, id));
    this.onAdd?.(kind, name, id);
    // Never removed: the holder of a stolen key can sign new tokens for ever.
    if (kind === 'key') this.#issuer(name).key.add(id);
    if (kind === 'key' || lapsesAt <= this.#prunedThrough) return;
    const issuer = this.#issuer(name);
    if (kind === 'claim') issuer.addClaim(id, issuedUntil, lapsesAt);
    else if (kind === 'subject' || kind === 'everything') issuer[kind].add(id, issuedUntil, lapsesAt);
    else {
      issuer[kind].add(this.#fingerprint.lowOf(id), this.#fingerprint.highOf(id), lapsesAt);
    }
  }

  /**
   * Like {@link add}, for an id that is a UUID, without making a text of it.
   * @param {'token' | 'session'} kind
   * @param {string} name that of the issuer
   * @param {Uint8Array} bytes
   * @param {number} at where the UUID begins
   * @param {number} lapsesAt
   */
  addUuid(kind, name, bytes, at, lapsesAt) {
    if (this.#own.size > 0) this.#own.delete(key(kind, name, uuidText(bytes, at)));
    this.onAdd?.(kind, name, uuidText(bytes, at));
    if (lapsesAt <= this.#prunedThrough) return;
    this.#fingerprint.addUuid(bytes, at, this.#issuer(name)[kind], lapsesAt);
  }

  /**
   * Adds a revocation of this process, until the feed brings it.
   * @param {'token' | 'session'} kind
   * @param {string} issuer
   * @param {string} id
   * @param {number} [expiresAt] when the token expires, if known
   */
  addOwn(kind, issuer, id, expiresAt = Infinity) {
    this.onAdd?.(kind, issuer, id);
    const lapsesAt = expiresAt + KEPT_AFTER_EXPIRY;
    if (lapsesAt <= this.#prunedThrough) return;
    const table = this.#issuers.get(issuer)?.[kind];
    if (table !== undefined && this.#isIn(table, id)) return;
    const own = key(kind, issuer, id);
    this.#own.set(own, Math.max(lapsesAt, this.#own.get(own) ?? 0));
  }

  /**
   * Returns the last revoked `iat` of the tokens with a claim; 0 if there is none.
   * @param {string} issuer
   * @param {string} name
   * @param {string} value
   */
  claimCutOff(issuer, name, value) {
    return Math.max(0, ...this.#namesOf(issuer).map((each) => this.#issuers.get(each)?.claim.get(name)?.issuedUntil(value) ?? 0));
  }

  /**
   * Returns the last revoked `iat` of a subject; 0 if there is none.
   * @param {string} issuer
   * @param {string} subject
   */
  cutOff(issuer, subject) {
    return Math.max(0, ...this.#namesOf(issuer).map((each) => this.#issuers.get(each)?.subject.issuedUntil(subject) ?? 0));
  }

  /**
   * @param {Facts} token
   * @returns {RevokedBy | undefined}
   */
  check(token) {
    const { issuer } = token;
    // Most nodes are never renamed.
    let by;
    if (this.#names.length < 2) by = this.#find(issuer, token);
    else {
      for (const name of this.#namesOf(issuer)) {
        by = this.#find(name, token);
        if (by !== undefined) break;
      }
    }
    // After all names: a revocation that is known counts more than the mark.
    return by ?? (token.expiresAt + KEPT_AFTER_EXPIRY <= this.#prunedThrough ? 'forgotten' : undefined);
  }

  /**
   * @param {string} name that of the issuer
   * @param {Facts} token
   * @returns {RevokedBy | undefined}
   */
  #find(name, token) {
    const { tokenId, session, subject, issuedAt } = token;
    const issuer = this.#last?.name === name ? this.#last.issuer : this.#issuers.get(name);
    if (issuer !== undefined) {
      if (this.#isIn(issuer.token, tokenId)) return 'token';
      if (session !== undefined && this.#isIn(issuer.session, session)) return 'session';
      if (subject !== undefined && issuer.subject.covers(subject, issuedAt)) return 'subject';
      if (issuer.everything.covers('', issuedAt)) return 'everything';
      if (issuer.key.size > 0 && token.kid !== undefined && issuer.key.has(token.kid)) return 'key';
      if (issuer.claim.size > 0 && token.claims !== undefined && issuer.revokesClaim(token.claims, issuedAt)) return 'claim';
    }
    if (this.#own.size > 0) {
      if (this.#own.has(key('token', name, tokenId))) return 'token';
      if (session !== undefined && this.#own.has(key('session', name, session))) return 'session';
    }
    return undefined;
  }

  /** Removes some of the lapsed revocations. Returns whether those were all. */
  forgetSome() {
    if (this.#toSweep.length === 0) {
      if (this.#prunedThrough < this.#sweptThrough + SWEEP_INTERVAL) return true;
      this.#sweptThrough = this.#prunedThrough;
      for (const [own, lapsesAt] of this.#own) if (lapsesAt <= this.#sweptThrough) this.#own.delete(own);
      this.#toSweep = [...this.#issuers.values()].flatMap((issuer) => issuer.sweeps);
    }
    const sweepSome = this.#toSweep.at(-1);
    if (sweepSome?.(this.#sweptThrough)) this.#toSweep.pop();
    if (this.#toSweep.length > 0) return false;
    for (const [name, issuer] of this.#issuers) {
      issuer.forgetNames();
      if (issuer.size === 0) this.#issuers.delete(name);
    }
    this.#last = undefined;
    return true;
  }

  /** Returns the names of an issuer. @param {string} issuer */
  #namesOf(issuer) {
    return this.#names.includes(issuer) ? this.#names : [issuer];
  }

  /** @param {Table} table @param {string} id */
  #isIn(table, id) {
    if (table.size === 0) return false;
    const low = this.#fingerprint.lowOf(id);
    return table.hasLow(low) && table.has(low, this.#fingerprint.highOf(id));
  }

  /** Returns the revocations of an issuer, which may be new. @param {string} name */
  #issuer(name) {
    if (this.#last?.name === name) return this.#last.issuer;
    let issuer = this.#issuers.get(name);
    if (issuer === undefined) this.#issuers.set(name, (issuer = new Issuer()));
    this.#last = { name, issuer };
    return issuer;
  }
}

/**
 * Returns what stands for a revocation in a set.
 * @param {string} kind
 * @param {string} issuer
 * @param {string} id
 */
function key(kind, issuer, id) {
  return JSON.stringify([kind, issuer, id]);
}

/** All revocations of one issuer. */
class Issuer {
  token = new Table();
  session = new Table();
  subject = new CutOffs();
  everything = new CutOffs();
  /** @type {Set<string>} */
  key = new Set();
  /** By the name of the claim, and then by its value. @type {Map<string, CutOffs>} */
  claim = new Map();

  get size() {
    let size = this.token.size + this.session.size + this.subject.size + this.everything.size + this.key.size;
    for (const cutOffs of this.claim.values()) size += cutOffs.size;
    return size;
  }

  /**
   * @param {string} id
   * @param {number} issuedUntil
   * @param {number} lapsesAt
   */
  addClaim(id, issuedUntil, lapsesAt) {
    const { name, value } = partsOfClaim(id);
    let cutOffs = this.claim.get(name);
    if (cutOffs === undefined) this.claim.set(name, (cutOffs = new CutOffs()));
    cutOffs.add(value, issuedUntil, lapsesAt);
  }

  /**
   * Returns whether a token is revoked by one of its claims.
   * @param {object} claims
   * @param {number | undefined} issuedAt
   */
  revokesClaim(claims, issuedAt) {
    for (const [name, cutOffs] of this.claim) {
      if (!Object.hasOwn(claims, name)) continue;
      const claim = /** @type {Record<string, unknown>} */ (claims)[name];
      for (const value of Array.isArray(claim) ? claim : [claim]) {
        const text = claimText(value);
        if (text !== undefined && cutOffs.covers(text, issuedAt)) return true;
      }
    }
    return false;
  }

  /** Removes the names of claims of which no revocation is left. */
  forgetNames() {
    for (const [name, cutOffs] of this.claim) if (cutOffs.size === 0) this.claim.delete(name);
  }

  /** The functions that remove some of what has lapsed, and return whether that was all. */
  get sweeps() {
    return [
      (/** @type {number} */ until) => this.token.sweepSome(until),
      (/** @type {number} */ until) => this.session.sweepSome(until),
      (/** @type {number} */ until) => this.subject.sweepSome(until, STEP),
      (/** @type {number} */ until) => this.everything.sweepSome(until, STEP),
      ...[...this.claim.values()].map((cutOffs) => (/** @type {number} */ until) => cutOffs.sweepSome(until, STEP)),
    ];
  }
}
