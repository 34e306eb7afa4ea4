/** What a token must be beside authentic and not revoked. */

import { InvalidClaimsError, UsageError } from './errors.js';
import { isOneOf } from './kind.js';

/** How many seconds the clock of an issuer may be ahead by default, as at a node. */
export const SKEW = 3;

/**
 * Requires that a verified token is of one of these kinds, and was not issued further in the future than `skew`: a cut-off of its subject
 * would not cover it.
 * @param {readonly string[]} types
 * @param {unknown} header
 * @param {import('./blocklist-base.js').Claims} claims
 * @param {number} skew in seconds
 * @throws {InvalidClaimsError}
 * @throws {UsageError} when `skew` is no number of seconds, with which no token would be from the future
 */
export function requireAcceptable(types, header, claims, skew) {
  if (typeof skew !== 'number' || !(skew >= 0)) throw new UsageError('skew: must be a number of seconds');
  if (!isOneOf(types, header, claims)) throw new InvalidClaimsError('the token is of another kind');
  if (Number(Object(claims).iat) > Date.now() / 1000 + skew) throw new InvalidClaimsError('the token is from the future');
}
