/**
 * Reads a page of the feed in its binary form, strictly: unknown content must not count as "nothing has been revoked". `docs/feed.md`
 * describes the form.
 */

import { LATEST, claimId } from './claims.js';
import { NodeError } from './errors.js';
import { uuidText } from './uuid.js';

/**
 * @typedef {object} Entry
 * @property {string} issuer
 * @property {'token' | 'session' | 'subject' | 'everything' | 'key' | 'claim'} kind
 * @property {string} id empty for `everything`; for `claim`, that of {@link claimId}
 * @property {number} issuedUntil the last `iat` that is revoked; for `subject`, `everything` and `claim` only
 * @property {number} lapsesAt from this time on, every token that it matches has expired
 */

/**
 * What takes entries.
 * @typedef {object} Sink
 * @property {(entry: Entry) => void} add
 * @property {(kind: 'token' | 'session', issuer: string, bytes: Uint8Array, at: number, lapsesAt: number) => void} addUuid
 */

export const MEDIA_TYPE = 'application/vnd.adieu.revocations';

/** The maximum number of entries of a page. A node sends no more. */
const MAX_ENTRIES = 65_536;

/** The maximum number of bytes of an id, an issuer and the id of a log. */
const MAX_TEXT_BYTES = 512;

/** The first bytes: "ADRV", and the version. */
const BEGINNING = [0x41, 0x44, 0x52, 0x56, 1];

const KINDS = /** @type {const} */ (['token', 'token', 'session', 'subject', 'everything', 'key', 'claim']);
const TOKEN = 0;
const SUBJECT = 3;
const EVERYTHING = 4;
const KEY = 5;
const CLAIM = 6;
const IS_UUID = 128;

// A byte order mark is a part of the text.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A page, whose entries are read in pieces so that the event loop goes on in between. */
export class Page {
  /** Where the next page begins. @type {string} */
  cursor;
  /** Whether the page ends at the end of the log. @type {boolean} */
  complete;
  /** Whether it starts at the beginning of the log. @type {boolean} */
  fromStart;
  /** The staleness of the node itself, in milliseconds. @type {number} */
  age;
  /** Revocations that lapsed until this time may have been removed. @type {number} */
  prunedThrough;
  /** The node's bound, in milliseconds. @type {number} */
  maxStaleness;
  /** The node's own issuer. @type {string} */
  issuer;

  #bytes;
  #at = BEGINNING.length;
  #left;
  #lapsesAt = 0;
  /** @type {string[]} */
  #issuers;

  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.#bytes = bytes;
    if (!BEGINNING.every((byte, at) => bytes[at] === byte)) throw misread('its beginning');
    const flags = this.#byte();
    if (flags > 3) throw misread('its flags');
    this.complete = (flags & 1) !== 0;
    this.fromStart = (flags & 2) !== 0;
    this.age = this.#number();
    this.prunedThrough = date(this.#number());
    this.maxStaleness = this.#number();
    this.issuer = this.#text();
    this.#issuers = [this.issuer];
    const log = this.#text();
    this.cursor = `${log}.${this.#number()}`;
    this.#left = this.#number();
    if (this.#left > MAX_ENTRIES) throw misread('too many entries');
    if (this.#left === 0) this.#end();
  }

  /**
   * Reads up to `most` of the entries into a sink. Returns whether those were all.
   * @param {number} most
   * @param {Sink} sink
   */
  readSome(most, sink) {
    for (let left = most; left > 0 && this.#left > 0; left -= 1) {
      this.#entry(sink);
      this.#left -= 1;
      if (this.#left === 0) this.#end();
    }
    return this.#left === 0;
  }

  /** Reads all entries. @returns {Entry[]} */
  entries() {
    /** @type {Entry[]} */
    const entries = [];
    this.readSome(MAX_ENTRIES, {
      add: (entry) => entries.push(entry),
      addUuid: (kind, issuer, bytes, at, lapsesAt) => {
        entries.push({ issuer, kind, id: uuidText(bytes, at), issuedUntil: 0, lapsesAt });
      },
    });
    return entries;
  }

  /** @param {Sink} sink */
  #entry(sink) {
    const first = this.#byte();
    const number = first & ~IS_UUID;
    const isUuid = first !== number;
    const kind = KINDS[number];
    if (kind === undefined || (isUuid && number === EVERYTHING)) {
      throw new NodeError('ADIEU_ANSWER', `an unknown kind "${first}": this follower is too old for the node`);
    }
    const issuer = this.#issuerOfEntry();
    const name = number === CLAIM ? this.#text() : '';
    const uuidAt = this.#at;
    let id = '';
    if (isUuid) {
      this.#at += 16;
      if (this.#at > this.#bytes.length) throw misread('it ends early');
    } else if (number !== EVERYTHING) id = this.#text();
    const lapsesAt = (this.#lapsesAt = date(this.#lapsesAt + this.#difference()));
    const other = number === TOKEN || (number >= SUBJECT && number !== KEY) ? date(lapsesAt + this.#difference()) : 0;
    if (kind === 'token' || kind === 'session') {
      if (isUuid) sink.addUuid(kind, issuer, this.#bytes, uuidAt, lapsesAt);
      else sink.add({ issuer, kind, id, issuedUntil: 0, lapsesAt });
    } else {
      if (isUuid) id = uuidText(this.#bytes, uuidAt);
      if (number === CLAIM) {
        const claim = claimId(name, id);
        if (claim === undefined) throw misread('a claim');
        id = claim;
      }
      sink.add({ issuer, kind, id, issuedUntil: other, lapsesAt });
    }
  }

  #issuerOfEntry() {
    const number = this.#number();
    if (number > this.#issuers.length) throw misread('an issuer');
    if (number === this.#issuers.length) this.#issuers.push(this.#text());
    return this.#issuers[number];
  }

  #end() {
    if (this.#at !== this.#bytes.length) throw misread('something follows its end');
  }

  #byte() {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw misread('it ends early');
    this.#at += 1;
    return byte;
  }

  #number() {
    let byte = this.#byte();
    if (byte < 128) return byte;
    let number = byte & 127;
    for (let factor = 128; byte >= 128; factor *= 128) {
      byte = this.#byte();
      number += (byte & 127) * factor;
      // Larger numbers are in no page of a real node, and would lose their lowest bits here.
      if (number > Number.MAX_SAFE_INTEGER || factor > Number.MAX_SAFE_INTEGER) throw misread('a number');
    }
    if (byte === 0) throw misread('a number');
    return number;
  }

  #difference() {
    const number = this.#number();
    return number % 2 === 0 ? number / 2 : -(number + 1) / 2;
  }

  #text() {
    const length = this.#number();
    const end = this.#at + length;
    if (length === 0 || length > MAX_TEXT_BYTES || end > this.#bytes.length) throw misread('a text');
    try {
      return utf8.decode(this.#bytes.subarray(this.#at, (this.#at = end)));
    } catch {
      throw misread('a text');
    }
  }
}

/** @param {number} seconds */
function date(seconds) {
  if (!(seconds >= 0 && seconds <= LATEST)) throw misread('a time');
  return seconds;
}

/** @param {string} what */
function misread(what) {
  return new NodeError('ADIEU_ANSWER', `the answer is no page of a feed (${what}); is it a node that was asked?`);
}
