/** The integration for `@fastify/jwt`: `app.register(jwt, { secret, trusted: trusted(blocklist) })`. */

import { SKEW } from './acceptance.js';
import { UsageError } from './errors.js';
import { ACCESS, checked, headerOf } from './kind.js';
import { EXPIRED, INVALID, MISSING, REVOKED, bearerToken, isGood, ownRefusal } from './refusals.js';

export { bearerToken };

/** @typedef {import('./blocklist.js').Blocklist} Blocklist */
/** @typedef {import('./blocklist-base.js').Claims} Claims */

/**
 * The part of a Fastify request that the check uses.
 * @typedef {{ headers: { authorization?: string | undefined } }} Request
 */

/**
 * Returns the check that `@fastify/jwt` runs for each token that it has verified.
 * @template {Request} R
 * @param {Blocklist} blocklist
 * @param {object} [options]
 * @param {readonly string[]} [options.types] the accepted kinds of token: by default access tokens
 * @param {(request: R) => string | undefined} [options.getToken] required for tokens without `jti`, and for tokens outside of the header
 *   `Authorization`: the same function as `verify.extractToken` of `@fastify/jwt`, for example {@link bearerToken}. A function that finds
 *   another token in the request would accept a revoked one
 * @param {boolean} [options.complete] whether `@fastify/jwt` has the option `complete` of `verify`, so that it passes on the whole token
 * @param {number} [options.skew] how many seconds the clock of the issuer may be ahead: 3 by default. At most the issuer's `clock_skew` at
 *   the node, which is how far a cut-off of a subject reaches
 * @returns {(request: R, decoded: Record<string, any>) => Promise<boolean>}
 */
export function trusted(blocklist, { types = ACCESS, getToken, complete = false, skew = SKEW } = {}) {
  const kinds = checked(types);
  return async (request, decoded) => {
    const claims = /** @type {Claims} */ (complete ? decoded.payload : decoded);
    const token = getToken?.(request);
    const header = complete ? decoded.header : headerOf(token ?? bearerToken(request));
    if (header === undefined) throw new UsageError('the token is not in the header Authorization: give `getToken`');
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
