/** The integration for `@fastify/jwt`: `app.register(jwt, { secret, trusted: trusted(blocklist, { getToken }) })`. */

import { SKEW } from './acceptance.js';
import { UsageError } from './errors.js';
import { ACCESS, checked, headerOf } from './kind.js';
import { EXPIRED, INVALID, MISSING, REVOKED, bearerToken, isGood, ownRefusal } from './refusals.js';

export { bearerToken };

/** @typedef {import('./blocklist.js').Blocklist} Blocklist */
/** @typedef {import('./blocklist-base.js').Claims} Claims */

/**
 * Returns the check that `@fastify/jwt` runs for each token that it has verified.
 * @template R
 * @param {Blocklist} blocklist
 * @param {object} options `getToken`, `complete` or both
 * @param {readonly string[]} [options.types] the accepted kinds of token: by default access tokens
 * @param {(request: R) => string | undefined} [options.getToken] the same function as `verify.extractToken` of `@fastify/jwt`; without that
 *   option and without cookies, {@link bearerToken}. Required without `complete`, because only the token says which key has signed it, and
 *   for tokens without `jti`. A function that finds another token in the request would accept a revoked one
 * @param {boolean} [options.complete] whether `@fastify/jwt` has the option `complete` of `verify`, so that it passes on the whole token
 * @param {number} [options.skew] how many seconds the clock of the issuer may be ahead: 3 by default. At most the issuer's `clock_skew` at
 *   the node, which is how far a cut-off of a subject reaches
 * @returns {(request: R, decoded: Record<string, any>) => Promise<boolean>} rejects with a {@link UsageError} when `getToken` finds no token
 * @throws {UsageError} when an option is missing or invalid
 */
export function trusted(blocklist, options) {
  const { types = ACCESS, getToken, complete = false, skew = SKEW } = { ...options };
  const kinds = checked(types);
  // Without either, the header of a token in a cookie would be that of whatever the client sends in `Authorization`.
  if (getToken === undefined && !complete) {
    throw new UsageError('getToken: must be the function with which @fastify/jwt finds the token, such as bearerToken');
  }
  return async (request, decoded) => {
    const claims = /** @type {Claims} */ (complete ? decoded.payload : decoded);
    const token = getToken?.(request);
    const header = complete ? decoded.header : headerOf(token);
    if (typeof header !== 'object' || header === null) {
      throw new UsageError('getToken: found no token; give @fastify/jwt the same function, as `verify: { extractToken: getToken }`');
    }
    await blocklist.fresh();
    return isGood(blocklist, kinds, header, claims, token, skew);
  };
}

/**
 * Returns an error handler that answers a rejected token in Adieu's format: `app.setErrorHandler(refusals())`. Fastify handles other
 * errors.
 * @returns {(error: unknown, request: unknown, reply: Reply) => unknown}
 */
export function refusals() {
  return (error, _request, reply) => {
    const refusal = ownRefusal(error) ?? foreignRefusal(error);
    if (refusal === undefined) return reply.send(error);
    return reply.code(refusal.status).headers({ ...refusal.headers, 'Cache-Control': 'no-store' }).send(refusal.body);
  };
}

/**
 * The part of a Fastify reply that the handler uses.
 * @typedef {object} Reply
 * @property {(status: number) => Reply} code
 * @property {(headers: Record<string, string>) => Reply} headers
 * @property {(body: unknown) => unknown} send
 */

/** Errors of fast-jwt's configuration or of its key source, not of a token. */
const OF_SETTINGS = new Set(['FAST_JWT_INVALID_OPTION', 'FAST_JWT_KEY_FETCHING_ERROR', 'FAST_JWT_SIGN_ERROR', 'FAST_JWT_MISSING_KEY']);

/** @param {unknown} error */
function foreignRefusal(error) {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined;
  // Some errors of fast-jwt arrive unwrapped; most of them are about the token.
  if (!/^(FST|FAST)_JWT_/.test(error.code) || OF_SETTINGS.has(error.code)) return undefined;
  switch (error.code) {
    case 'FST_JWT_AUTHORIZATION_TOKEN_UNTRUSTED':
      return REVOKED;
    case 'FST_JWT_AUTHORIZATION_TOKEN_EXPIRED':
      return EXPIRED;
    case 'FST_JWT_NO_AUTHORIZATION_IN_HEADER':
    case 'FST_JWT_NO_AUTHORIZATION_IN_COOKIE':
      return MISSING;
    default:
      return INVALID;
  }
}
