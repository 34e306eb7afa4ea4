/** For `@fastify/jwt`: `app.register(jwt, { secret, trusted: trusted(blocklist) })`. */

import { ACCESS, checked, headerOf } from './kind.js';
import { EXPIRED, INVALID, MISSING, REVOKED, SKEW, bearerToken, isGood, ownRefusal } from './refusals.js';

export { bearerToken };

/** @typedef {import('./blocklist.js').Blocklist} Blocklist */
/** @typedef {import('./blocklist.js').Claims} Claims */

/**
 * The part of a request of Fastify that is used here.
 * @typedef {{ headers: { authorization?: string | undefined } }} Request
 */

/**
 * What `@fastify/jwt` asks of each token that it has verified.
 * @template {Request} R
 * @param {Blocklist} blocklist
 * @param {object} [options]
 * @param {readonly string[]} [options.types] the kinds of token that are let in: access tokens unless set otherwise
 * @param {(request: R) => string | undefined} [options.getToken] needed for tokens without `jti`, and for those that are not in the
 *   header `Authorization`: the same function that `@fastify/jwt` is given as `verify.extractToken`, say {@link bearerToken}. One that
 *   finds another token in the request would let a revoked one in
 * @param {number} [options.skew] how many seconds the clock of the issuer may be ahead: 3 unless set. No more than `clock_skew` of the
 *   issuer at the node, as far as a cut-off of a subject reaches
 * @returns {(request: R, decoded: Record<string, any>) => Promise<boolean>}
 */
export function trusted(blocklist, { types = ACCESS, getToken, skew = SKEW } = {}) {
  const kinds = checked(types);
  return async (request, decoded) => {
    // With the option `complete` it is the whole token.
    const isComplete = 'header' in decoded && 'payload' in decoded;
    const claims = /** @type {Claims} */ (isComplete ? decoded.payload : decoded);
    const token = getToken?.(request);
    const header = isComplete ? decoded.header : headerOf(token ?? bearerToken(request));
    return isGood(blocklist, kinds, header, claims, token, skew);
  };
}

/**
 * An error handler that answers a refused token in the words of Adieu: `app.setErrorHandler(refusals())`. Other errors are
 * left to Fastify.
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
 * The part of a reply of Fastify that is used here.
 * @typedef {object} Reply
 * @property {(status: number) => Reply} code
 * @property {(headers: Record<string, string>) => Reply} headers
 * @property {(body: unknown) => unknown} send
 */

/** What is wrong with what fast-jwt was set to, or with what gives it its keys, and not with a token. */
const OF_SETTINGS = new Set(['FAST_JWT_INVALID_OPTION', 'FAST_JWT_KEY_FETCHING_ERROR', 'FAST_JWT_SIGN_ERROR', 'FAST_JWT_MISSING_KEY']);

/** @param {unknown} error */
function foreignRefusal(error) {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined;
  // Some of those of fast-jwt come as they are, and most say what is wrong with the token.
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
