/**
 * The kind of a token, by the header's `typ` and the claims that issuers use for it.
 *
 * A refresh token or an identity token has the same signing key as an access token, so a good signature is not enough.
 */

import { UsageError } from './errors.js';

/** The kinds that are accepted by default. */
export const ACCESS = ['access'];

/** The claims of Flask-JWT-Extended and Adieu, of simplejwt, of Cognito, and of Keycloak. */
export const CLAIMS = ['type', 'token_type', 'token_use', 'typ'];

/** @type {Map<unknown, string | undefined>} */
const OTHER_NAMES = new Map([
  ['access_token', 'access'],
  ['at+jwt', 'access'],
  ['refresh_token', 'refresh'],
  // These name how a token is sent and its format, not its kind.
  ['bearer', undefined],
  ['jwt', undefined],
]);

/**
 * Returns the accepted kinds. Throws if they are one name instead of a list.
 * @param {readonly string[]} types
 */
export function checked(types) {
  if (!Array.isArray(types)) throw new UsageError("types: must be a list of names, such as ['access']");
  return types.map(lower);
}

/**
 * Returns whether header and claims together name one kind of token, and it is one of these. A token without a kind counts as an access
 * token. The comparison ignores case.
 * @param {readonly string[]} types
 * @param {unknown} header
 * @param {unknown} claims
 */
export function isOneOf(types, header, claims) {
  /** @type {Set<string>} */
  const named = new Set();
  const add = (/** @type {unknown} */ name) => {
    const kind = kindOf(name);
    if (kind !== undefined) named.add(kind);
  };
  if (typeof header === 'object' && header !== null && 'typ' in header) {
    // `typ` is a media type (RFC 7515 section 4.1.9).
    add(typeof header.typ === 'string' ? header.typ.replace(/^application\//i, '') : header.typ);
  }
  if (typeof claims === 'object' && claims !== null) {
    const values = /** @type {Record<string, unknown>} */ (claims);
    for (const claim of CLAIMS) if (Object.hasOwn(values, claim)) add(values[claim]);
  }
  if (named.size === 0) return types.includes('access');
  return named.size === 1 && [...named].every((kind) => types.includes(kind));
}

/**
 * Returns the header of a token; undefined if it cannot be read.
 * @param {string | undefined} token
 * @returns {unknown}
 */
export function headerOf(token) {
  try {
    return JSON.parse(Buffer.from(/** @type {string} */ (token?.split('.')[0]), 'base64url').toString());
  } catch {
    return undefined;
  }
}

/** Returns the kind that a word names; undefined if the word does not name a kind. @param {unknown} name */
export function kindOf(name) {
  // A value of a wrong type: a kind that is never accepted.
  if (typeof name !== 'string') return '';
  const word = lower(name);
  return OTHER_NAMES.has(word) ? OTHER_NAMES.get(word) : word;
}

/**
 * ASCII only, as at the node: some other letters have an ASCII letter as their lower case.
 * @param {string} name
 */
export function lower(name) {
  return name.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}
