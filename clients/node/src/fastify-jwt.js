/** For `@fastify/jwt`: `app.register(jwt, { secret, trusted: trusted(blocklist) })`. */

import { EXPIRED, INVALID, MISSING, REVOKED, bearer, isRefreshToken, ownRefusal } from './refusals.js';

/** @typedef {import('./blocklist.js').Blocklist} Blocklist */
/** @typedef {import('./blocklist.js').Claims} Claims */

/**
 * The part of a request of Fastify that is used here.
 * @typedef {{ headers: { authorization?: string | undefined } }} Request
 */

/**
 * What `@fastify/jwt` asks of each token that it has verified. A refresh token is not trusted: it is not for requests.
 * @template {Request} R
 * @param {Blocklist} blocklist
 * @param {{ getToken?: (request: R) => string | undefined }} [options] `getToken`: finds the token if it is not in the header
 *   `Authorization`; for those without `jti`
 * @returns {(request: R, decoded: Record<string, any>) => Promise<boolean>}
 */
export function trusted(blocklist, { getToken = (request) => bearer(request.headers.authorization) } = {}) {
  return async (request, decoded) => {
    // With the option `complete` it is the whole token.
    const claims = /** @type {Claims} */ ('header' in decoded && 'payload' in decoded ? decoded.payload : decoded);
    return !isRefreshToken(claims) && !blocklist.isRevoked(claims, getToken(request));
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

/** @param {unknown} error */
function foreignRefusal(error) {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined;
  if (!error.code.startsWith('FST_JWT_')) return undefined;
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
