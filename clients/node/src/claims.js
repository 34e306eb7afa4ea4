/** Reads the claims of a token that a revocation can match, as strictly as a node does. */

import { InvalidClaimsError, UsageError } from './errors.js';

/**
 * Returns the signing input of a token, whose SHA-256 is the id of a token without `jti`. (The signature is not included, because some
 * algorithms have several encodings of it.)
 * @param {string} token
 */
export function signingInput(token) {
  // Any other text, such as a header with its scheme, would have another id and count as not revoked.
  if (!/^[\w-]+\.[\w-]+\.[\w-]*$/.test(token)) throw new UsageError('the token must be a signed JWT, as it was sent');
  return token.slice(0, token.lastIndexOf('.'));
}

/** No revocation names an id of more bytes. */
const MAX_ID_BYTES = 512;

/** The end of the year 9999, in seconds. A later time is in milliseconds by mistake. */
export const LATEST = 253_402_300_799;

/** The claims that no revocation by claim names. */
const RESERVED = new Set(['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti', 'sid', 'type', 'fresh']);

/** Between the name and the value of a claim, in one id. */
const SEPARATOR = '\x1f';

/**
 * Returns the id of a revocation by claim; undefined if a node would reject the name or the value.
 * @param {string} name
 * @param {string} value
 */
export function claimId(name, value) {
  const id = `${name}${SEPARATOR}${value}`;
  const isGood = /^[!-~]{1,128}$/.test(name) && !RESERVED.has(name) && value !== '' && byteLength(id) <= MAX_ID_BYTES;
  return isGood ? id : undefined;
}

/** Returns the name and the value of a claim. @param {string} id */
export function partsOfClaim(id) {
  const at = id.indexOf(SEPARATOR);
  return { name: id.slice(0, at), value: id.slice(at + 1) };
}

/** Returns the value of a claim as text; undefined for one that no revocation names. @param {unknown} value */
export function claimText(value) {
  switch (typeof value) {
    case 'string':
      return value;
    case 'boolean':
      return String(value);
    case 'number':
      // A larger number may have been another one in the token. -0 is "0".
      return Number.isSafeInteger(value) ? String(value) : undefined;
    default:
      return undefined;
  }
}

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
  // A text of so few UTF-16 units cannot exceed the limit in bytes; longer texts are rare, and are measured.
  if (typeof value === 'string' && value !== '' && (value.length <= MAX_ID_BYTES / 3 || byteLength(value) <= MAX_ID_BYTES)) {
    return value;
  }
  throw new InvalidClaimsError(`the claim ${claim} must be a text of 1 to ${MAX_ID_BYTES} bytes`);
}

/**
 * Returns the subject as text. It may be a whole number, as in older applications: `7` is the same as `"7"`.
 * @param {unknown} value
 * @param {string} claim
 */
export function subjectOf(value, claim) {
  if (typeof value !== 'number') return text(value, claim);
  if (Number.isSafeInteger(value)) return String(value);
  throw new InvalidClaimsError(`the claim ${claim} must be a text, or a whole number below 2^53`);
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

/** Returns the time until which a revocation is kept, rounded up. @param {unknown} value */
export function lastSecond(value) {
  if (typeof value === 'number' && value >= 0 && value <= LATEST) return Math.ceil(value);
  throw new UsageError('keepUntil: must be seconds since 1970');
}

/** @param {string} value */
function byteLength(value) {
  return new TextEncoder().encode(value).length;
}
