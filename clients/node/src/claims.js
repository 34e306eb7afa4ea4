/** Reads what a revocation can name of a token, as strictly as a node does. */

import { createHash } from 'node:crypto';

import { InvalidClaimsError } from './errors.js';

/**
 * What stands for a token without `jti`: the SHA-256 of what is signed. (Not of the signature, which some algorithms write
 * in several ways.)
 * @param {string} token
 */
export function tokenIdOf(token) {
  // Of anything else, such as a header with its scheme, the id would be another one, and "not revoked" no answer.
  if (!/^[\w-]+\.[\w-]+\.[\w-]*$/.test(token)) throw new TypeError('the token must be a signed JWT, as it was sent');
  return createHash('sha256').update(token.slice(0, token.lastIndexOf('.'))).digest('base64url');
}

/** No revocation names an id of more bytes. */
const LONGEST_ID = 512;

/** The end of the year 9999, in seconds. What is later is milliseconds by mistake. */
const LATEST = 253_402_300_799;

/** @param {unknown} claims */
export function requireClaims(claims) {
  if (typeof claims !== 'object' || claims === null) throw new InvalidClaimsError('the claims of a token are needed');
}

/**
 * @param {unknown} value
 * @param {string} claim
 */
export function text(value, claim) {
  if (value === undefined) return undefined;
  // So many UTF-16 units are never more bytes; those that are more are few.
  if (typeof value === 'string' && value !== '' && (value.length <= LONGEST_ID / 3 || Buffer.byteLength(value) <= LONGEST_ID)) {
    return value;
  }
  throw new InvalidClaimsError(`the claim ${claim} must be a text of 1 to ${LONGEST_ID} bytes`);
}

/**
 * A subject may be a whole number, as older applications have it: `7` is then the same as `"7"`.
 * @param {unknown} value
 */
export function subjectOf(value) {
  if (typeof value !== 'number') return text(value, 'sub');
  if (Number.isSafeInteger(value)) return String(value);
  throw new InvalidClaimsError('the claim sub must be a text, or a whole number below 2^53');
}

/**
 * @param {unknown} value
 * @param {string} claim
 */
export function date(value, claim) {
  if (value === undefined) return undefined;
  if (typeof value === 'number' && value >= 0 && value <= LATEST) return Math.floor(value);
  throw new InvalidClaimsError(`the claim ${claim} must be seconds since 1970`);
}
