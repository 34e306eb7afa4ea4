/** For express-jwt: `expressjwt({ secret, algorithms, isRevoked: isRevoked(blocklist) })`. */

import { EXPIRED, INVALID, MISSING, REVOKED, bearer, isRefreshToken, ownRefusal } from './refusals.js';

/** @typedef {import('./blocklist.js').Blocklist} Blocklist */
/** @typedef {import('./blocklist.js').Claims} Claims */

/**
 * The part of a request of Express that is used here.
 * @typedef {{ headers: { authorization?: string | undefined } }} Request
 */

/**
 * What express-jwt asks of each token that it has verified. A refresh token counts as revoked: it is not for requests.
 * @template {Request} R
 * @param {Blocklist} blocklist
 * @param {{ getToken?: (request: R) => string | undefined }} [options] `getToken`: as for express-jwt, if tokens are not in
 *   the header `Authorization`; for those without `jti`
 * @returns {(request: R, token: { payload: unknown } | undefined) => Promise<boolean>}
 */
export function isRevoked(blocklist, { getToken = (request) => bearer(request.headers.authorization) } = {}) {
  return async (request, token) => {
    const claims = /** @type {Claims} */ (token?.payload);
    return isRefreshToken(claims) || blocklist.isRevoked(claims, getToken(request));
  };
}

/**
 * An error handler that answers a refused token in the words of Adieu. `app.use(refusals())` goes behind the routes; other
 * errors are passed on.
 * @returns {(error: unknown, request: unknown, response: Response, next: (error: unknown) => void) => void}
 */
export function refusals() {
  return (error, _request, response, next) => {
    const refusal = ownRefusal(error) ?? foreignRefusal(error);
    if (refusal === undefined || response.headersSent) next(error);
    else response.status(refusal.status).set(refusal.headers).set('Cache-Control', 'no-store').json(refusal.body);
  };
}

/**
 * The part of a response of Express that is used here.
 * @typedef {object} Response
 * @property {boolean} headersSent
 * @property {(status: number) => Response} status
 * @property {{ (headers: Record<string, string>): Response, (name: string, value: string): Response }} set
 * @property {(body: unknown) => unknown} json
 */

/** @param {unknown} error */
function foreignRefusal(error) {
  if (!(error instanceof Error) || error.name !== 'UnauthorizedError' || !('code' in error)) return undefined;
  switch (error.code) {
    case 'revoked_token':
      return REVOKED;
    case 'credentials_required':
    case 'credentials_bad_scheme':
      return MISSING;
    default:
      return 'inner' in error && error.inner instanceof Error && error.inner.name === 'TokenExpiredError' ? EXPIRED : INVALID;
  }
}
