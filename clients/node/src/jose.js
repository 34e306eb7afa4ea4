/** For jose: `assertGood(blocklist, await jwtVerify(token, keys, options), { token })`. */

import { RevokedError } from './errors.js';
import { ACCESS, checked } from './kind.js';
import { SKEW, isGood } from './refusals.js';

/** @typedef {import('./blocklist.js').Blocklist} Blocklist */
/** @typedef {import('./blocklist.js').Claims} Claims */

/**
 * Asserts that a token that jose has verified is of the right kind and not revoked. A payload without `jti` gets one, the same
 * everywhere, so that it can be revoked.
 * @param {Blocklist} blocklist
 * @param {{ protectedHeader: unknown, payload: object }} verified what `jwtVerify()` resolves with
 * @param {object} [options]
 * @param {readonly string[]} [options.types] the kinds of token that are let in: access tokens unless set otherwise
 * @param {string} [options.token] the token itself, which is needed if it has no `jti`
 * @param {number} [options.skew] how many seconds the clock of the issuer may be ahead: 3 unless set. No more than `clock_skew` of the
 *   issuer at the node, as far as a cut-off of a subject reaches
 * @throws {import('./errors.js').RevokedError} when the token has been revoked
 * @throws {import('./errors.js').StaleError} when this does not know enough to say that it has not
 * @throws {import('./errors.js').InvalidClaimsError} when the token is of another kind, or has claims that can't be judged
 */
export function assertGood(blocklist, { protectedHeader, payload }, { types = ACCESS, token, skew = SKEW } = {}) {
  if (!isGood(blocklist, checked(types), protectedHeader, /** @type {Claims} */ (payload), token, skew)) throw new RevokedError();
}
