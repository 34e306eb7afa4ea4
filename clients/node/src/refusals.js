/** The responses to rejected tokens, identical to a node's. */

import { tokenIdOf } from './claims.js';
import { InvalidClaimsError, RevokedError, TOKEN_REFUSALS } from './errors.js';
import { isOneOf } from './kind.js';

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

/** How many seconds the clock of an issuer may be ahead by default, as at a node. */
export const SKEW = 3;

/**
 * Returns whether a verified token is accepted: it is of one of these kinds, and not revoked. Claims without `jti` get an id that is the
 * same everywhere, so that the token can be revoked.
 *
 * A token that was issued further in the future than `skew` is rejected, because a cut-off of its subject would not cover it.
 * @param {import('./blocklist.js').Blocklist} blocklist
 * @param {readonly string[]} types
 * @param {unknown} header
 * @param {import('./blocklist.js').Claims} claims
 * @param {string | undefined} token
 * @param {number} skew
 */
export function isGood(blocklist, types, header, claims, token, skew) {
  if (!isOneOf(types, header, claims)) throw new InvalidClaimsError('the token is of another kind');
  if (typeof claims === 'object' && claims?.jti === undefined && token !== undefined) claims.jti = tokenIdOf(token);
  const isRevoked = blocklist.isRevoked(claims, undefined, Object(header).kid);
  if (Number(claims.iat) > Date.now() / 1000 + skew) throw new InvalidClaimsError('the token is from the future');
  return !isRevoked;
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
