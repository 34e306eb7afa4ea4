/** The integration for jose: `assertGood(blocklist, await jwtVerify(token, keys, options), { token })`. */

import { SKEW } from './acceptance.js';
import { RevokedError } from './errors.js';
import { ACCESS, checked } from './kind.js';
import { isGood } from './refusals.js';

/** @typedef {import('./blocklist.js').Blocklist} Blocklist */
/** @typedef {import('./blocklist-base.js').Claims} Claims */

/**
 * Asserts that a token that jose has verified is of the right kind and not revoked. A payload without `jti` gets an id that is the same
 * everywhere, so that it can be revoked. It does not wait if the memory is stale: with `staleTimeout`, call `await blocklist.fresh()` before.
 * @param {Blocklist} blocklist
 * @param {{ protectedHeader: unknown, payload: object }} verified the result of `jwtVerify()`
 * @param {object} [options]
 * @param {readonly string[]} [options.types] the accepted kinds of token: by default access tokens
 * @param {string} [options.token] the token itself, required if it has no `jti`
 * @param {number} [options.skew] how many seconds the clock of the issuer may be ahead: 3 by default. At most the issuer's `clock_skew` at
 *   the node, which is how far a cut-off of a subject reaches
 * @throws {import('./errors.js').RevokedError} when the token has been revoked
 * @throws {import('./errors.js').TokenError} when the token expired so long ago that its revocation may have been removed
 * @throws {import('./errors.js').StaleError} when the memory is stale
 * @throws {import('./errors.js').InvalidClaimsError} when the token is of another kind, or its claims are invalid
 */
export function assertGood(blocklist, { protectedHeader, payload }, { types = ACCESS, token, skew = SKEW } = {}) {
  if (!isGood(blocklist, checked(types), protectedHeader, /** @type {Claims} */ (payload), token, skew)) throw new RevokedError();
}
