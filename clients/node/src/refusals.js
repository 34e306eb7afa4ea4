/** The responses to rejected tokens, identical to a node's. */

import { requireAcceptable } from './acceptance.js';
import { InvalidClaimsError, RevokedError, TOKEN_REFUSALS } from './errors.js';
import { tokenIdOf } from './token-id.js';

/** @typedef {import('./errors.js').Refusal} Refusal */

/** The request has no token, or the token has expired. */
export const { authorization_required: MISSING, token_expired: EXPIRED } = TOKEN_REFUSALS;

/** Any other error of the token; the response does not reveal which. @type {Refusal} */
export const INVALID = new InvalidClaimsError();

/** The token has been revoked. @type {Refusal} */
export const REVOKED = new RevokedError();

/**
 * Returns the token in `Authorization: Bearer …`, where express-jwt and `@fastify/jwt` look for it by default.
 * @param {{ headers: { authorization?: string | undefined } }} request
 */
export function bearerToken(request) {
  return /^Bearer +([^ ]+) *$/i.exec(request.headers.authorization ?? '')?.[1];
}

/**
 * Returns whether a verified token is accepted: {@link requireAcceptable}, and not revoked. Claims without `jti` get an id that is the
 * same everywhere, so that the token can be revoked.
 * @param {import('./blocklist.js').Blocklist} blocklist
 * @param {readonly string[]} types
 * @param {unknown} header
 * @param {import('./blocklist-base.js').Claims} claims
 * @param {string | undefined} token
 * @param {number} skew
 * @throws {import('./errors.js').TokenError} when the token expired so long ago that its revocation may have been removed
 */
export function isGood(blocklist, types, header, claims, token, skew) {
  requireAcceptable(types, header, claims, skew);
  if (typeof claims === 'object' && claims?.jti === undefined && token !== undefined) claims.jti = tokenIdOf(token);
  try {
    blocklist.assertNotRevoked(claims, undefined, Object(header).kid);
    return true;
  } catch (error) {
    // Not by its class, as in `ownRefusal`.
    if (Object(error).code === 'ADIEU_REVOKED') return false;
    throw error;
  }
}

/**
 * Returns the response for one of this package's errors. It is recognised by its code, because the package as an ES module and the package
 * in CommonJS have classes of their own.
 * @param {unknown} error
 * @returns {Refusal | undefined}
 */
export function ownRefusal(error) {
  const { code, status } = Object(error);
  return status !== undefined && String(code).startsWith('ADIEU_') ? /** @type {Refusal} */ (error) : undefined;
}
