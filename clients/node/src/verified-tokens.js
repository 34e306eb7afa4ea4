/**
 * Remembers tokens whose signature has been verified, so that it is verified once.
 *
 * 1. An entry is a fact: this key has signed this token, with these claims. Times, audience and revocation are checked in each call.
 * 2. A token is compared as a whole. It is looked up by its signature, a text that nobody can choose, so collisions cannot be aimed.
 * 3. Only accepted tokens are remembered, so what a stranger makes up takes no memory and displaces nothing.
 * 4. It is bounded, in tokens and in bytes. The oldest token that was not used since it was last considered leaves.
 * 5. An entry ends with its key.
 */

import { UsageError } from './errors.js';

/** @typedef {import('./token-rules.js').Facts} Facts */
/** @typedef {import('./keys.js').VerifyingKey} VerifyingKey */

/** @typedef {{ text: string, key: VerifyingKey, facts: Facts }} Verified `text`: the claims as JSON */

/** @typedef {Verified & { token: string, bytes: number, isUsed: boolean }} Entry */

/** The limits by default. */
const TOKENS = 16_384;
const BYTES = 32 * 1024 * 1024;

/** The memory of an entry without its texts, and of a name in `aud` that is short, in bytes: measured, and rounded up. */
const ENTRY_BYTES = 600;
const NAME_BYTES = 32;

export class VerifiedTokens {
  /** By signature, in the order in which they are considered for eviction. @type {Map<string, Entry>} */
  #entries = new Map();
  #maxTokens;
  #maxBytes;
  #bytes = 0;

  /** @param {{ tokens?: number, bytes?: number }} limits */
  constructor({ tokens = TOKENS, bytes = BYTES }) {
    for (const limit of [tokens, bytes]) {
      if (!(Number.isSafeInteger(limit) && limit > 0)) throw new UsageError('cache: a limit must be a whole number above 0');
    }
    this.#maxTokens = tokens;
    this.#maxBytes = bytes;
  }

  get size() {
    return this.#entries.size;
  }

  get bytes() {
    return this.#bytes;
  }

  /** @param {string} token @returns {Verified | undefined} */
  get(token) {
    const entry = this.#entries.get(signatureOf(token));
    if (entry === undefined || entry.token !== token) return undefined;
    entry.isUsed = true;
    return entry;
  }

  /** @param {string} token @param {Verified} verified */
  add(token, { text, key, facts }) {
    const bytes = ENTRY_BYTES + token.length + 2 * text.length + NAME_BYTES * (facts.audience?.length ?? 0);
    if (bytes > this.#maxBytes) return;
    this.#remove(signatureOf(token));
    while (this.#entries.size >= this.#maxTokens || this.#bytes + bytes > this.#maxBytes) this.#evict();
    // A copy: the text may be a part of a whole request.
    const own = Buffer.from(token).toString();
    this.#entries.set(signatureOf(own), { text, key, facts, token: own, bytes, isUsed: false });
    this.#bytes += bytes;
  }

  /** Keeps only the tokens of these keys. @param {readonly VerifyingKey[]} keys */
  retain(keys) {
    for (const [signature, { key }] of this.#entries) if (!keys.includes(key)) this.#remove(signature);
  }

  #evict() {
    for (const [signature, entry] of this.#entries) {
      this.#entries.delete(signature);
      if (!entry.isUsed) {
        this.#bytes -= entry.bytes;
        return;
      }
      entry.isUsed = false;
      this.#entries.set(signature, entry);
    }
  }

  /** @param {string} signature */
  #remove(signature) {
    const entry = this.#entries.get(signature);
    if (entry === undefined) return;
    this.#bytes -= entry.bytes;
    this.#entries.delete(signature);
  }
}

/** @param {string} token */
function signatureOf(token) {
  return token.slice(token.lastIndexOf('.') + 1);
}
