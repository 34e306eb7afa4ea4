/** The answers that a refused token gets, word for word as a node gives them. */

import { AdieuError, RevokedError } from './errors.js';

/** @typedef {import('./errors.js').Refusal} Refusal */

/**
 * @param {Record<string, unknown>} body
 * @param {string} challenge
 * @returns {Refusal}
 */
const unauthorized = (body, challenge) => ({ status: 401, headers: { 'WWW-Authenticate': challenge }, body });

/** There is no token. */
export const MISSING = unauthorized(
  { description: 'Request does not contain an access token.', error: 'authorization_required' },
  'Bearer',
);

/** The token has expired. */
export const EXPIRED = unauthorized(
  { message: 'The token has expired.', error: 'token_expired' },
  'Bearer error="invalid_token", error_description="The token has expired."',
);

/** Anything else that is wrong with the token; what exactly is nobody's business. */
export const INVALID = unauthorized(
  { message: 'Signature verification failed.', error: 'invalid_token' },
  'Bearer error="invalid_token", error_description="Signature verification failed."',
);

/** The token has been revoked. @type {Refusal} */
export const REVOKED = new RevokedError();

/**
 * The token in `Authorization: Bearer …`.
 * @param {string | undefined} authorization
 */
export function bearer(authorization) {
  return /^Bearer +([^ ]+) *$/i.exec(authorization ?? '')?.[1];
}

/**
 * Whether the claims are those of a refresh token, which is good for `/refresh` and for nothing else.
 * @param {unknown} claims
 */
export function isRefreshToken(claims) {
  return typeof claims === 'object' && claims !== null && 'type' in claims && claims.type === 'refresh';
}

/**
 * The answer that one of our own errors stands for.
 * @param {unknown} error
 * @returns {Refusal | undefined}
 */
export function ownRefusal(error) {
  return error instanceof AdieuError ? error : undefined;
}
