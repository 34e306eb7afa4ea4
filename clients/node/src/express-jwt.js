/** The integration for express-jwt: `expressjwt({ secret, algorithms, isRevoked: isRevoked(blocklist) })`. */

import { SKEW } from './acceptance.js';
import { ACCESS, checked } from './kind.js';
import { EXPIRED, INVALID, MISSING, REVOKED, isGood, ownRefusal } from './refusals.js';

export { bearerToken } from './refusals.js';

/** @typedef {import('./blocklist.js').Blocklist} Blocklist */
/** @typedef {import('./blocklist-base.js').Claims} Claims */

/**
 * Returns the check that express-jwt runs for each token that it has verified.
 * @template R
 * @param {Blocklist} blocklist
 * @param {object} [options]
 * @param {readonly string[]} [options.types] the accepted kinds of token: by default access tokens
 * @param {(request: R) => string | undefined} [options.getToken] required for tokens without `jti`: the same function as express-jwt's
 *   `getToken`, for example {@link bearerToken}. A function that finds another token in the request would accept a revoked one
 * @param {number} [options.skew] how many seconds the clock of the issuer may be ahead: 3 by default. At most the issuer's `clock_skew` at
 *   the node, which is how far a cut-off of a subject reaches
 * @returns {(request: R, token: { header?: unknown, payload: unknown } | undefined) => Promise<boolean>}
 */
export function isRevoked(blocklist, { types = ACCESS, getToken, skew = SKEW } = {}) {
  const kinds = checked(types);
  return async (request, token) => {
    const claims = /** @type {Claims} */ (token?.payload);
    await blocklist.fresh();
    return !isGood(blocklist, kinds, token?.header, claims, getToken?.(request), skew);
  };
}

/**
 * Returns an error handler that answers a rejected token in Adieu's format. `app.use(refusals())` comes after the routes; other errors are
 * passed on.
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
 * The part of an Express response that the handler uses.
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
