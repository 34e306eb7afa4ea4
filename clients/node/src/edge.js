/**
 * The client for runtimes with `fetch` and WebCrypto, without Node's modules: workers at the edge.
 *
 * Nothing runs in the background. A check reads from the node when the memory is stale, one time for all concurrent checks. Where a
 * request must not wait for what another has started, as on Cloudflare, a Durable Object has the {@link Blocklist}, and the workers ask it
 * with {@link assertGood}.
 */

import { SKEW, requireAcceptable } from './acceptance.js';
import { BlocklistBase } from './blocklist-base.js';
import { signingInput } from './claims.js';
import { Connection } from './connection.js';
import { InvalidClaimsError, RevokedError, StaleError, TokenError, UsageError } from './errors.js';
import { fetchTransport } from './fetch-exchange.js';
import { between, clock } from './freshness.js';
import { ACCESS, checked } from './kind.js';
import { settingsOf } from './settings.js';

export { AdieuError, InvalidClaimsError, NodeError, RevokedError, StaleError, TokenError, UsageError } from './errors.js';

/** @typedef {import('./settings.js').Options} Options */
/** @typedef {import('./blocklist-base.js').Claims} Claims */
/** @typedef {import('./blocklist-base.js').RevokeOptions} RevokeOptions */
/** @typedef {import('./blocklist-base.js').Revoked} Revoked */
/** @typedef {import('./blocklist-base.js').Status} Status */
/** @typedef {import('./events.js').Event} Event */

/**
 * The result of a check as plain data, which may pass between workers. `validFor` is how many milliseconds after the question a token may
 * be accepted that has not been revoked.
 * @typedef {{ revoked: boolean, validFor: number } | { code: string, message: string }} Verdict
 */

/** Has the revocations: a {@link Blocklist}, or the stub of a Durable Object with this method.
 * @typedef {{ verdict(claims: Claims, kid?: string): PromiseLike<Verdict> }} Owner
 */

/** How long a check waits for the node if the memory is stale, in milliseconds. */
const STALE_TIMEOUT = 1000;

/**
 * Reads from an Adieu node when it is asked and its memory is stale, for `staleTimeout` at most: 1000 ms unless set. What it guarantees:
 * {@link BlocklistBase}. Only {@link Blocklist.verdict} and `fresh()` read; `onRevoked()` calls back when one of them has read the revocation.
 */
export class Blocklist extends BlocklistBase {
  #accepts;

  /**
   * @param {Omit<Options, 'unref'> & { url: string | URL, clientId: string, secret: string }} options
   * @throws {UsageError} when one is missing or invalid
   */
  constructor(options) {
    const settings = settingsOf({ staleTimeout: STALE_TIMEOUT, ...options }, () => undefined);
    const connection = new Connection(settings.url, settings.clientId, settings.secret, fetchTransport);
    super(settings, { connection, follows: false, tokenIdOf: withoutId });
    this.#accepts = settings.stalePolicy === 'accept';
  }

  /**
   * Reads from the node if the memory is stale.
   * @override
   * @returns {Promise<void>} rejects if the whole log has not been read once in time
   */
  async ready() {
    await this.fresh();
    const { ready, failure } = this.status();
    if (!ready) throw failure ?? new StaleError();
  }

  /**
   * Reads from the node if the memory is stale, and returns whether a token has been revoked. Does not reject.
   * @param {Claims} claims verified ones, with `jti`; see {@link tokenIdOf}
   * @param {string} [kid] that of the token's header
   * @returns {Promise<Verdict>}
   */
  async verdict(claims, kid) {
    try {
      await this.fresh();
      this.assertNotRevoked(claims, undefined, kid);
      return { revoked: false, validFor: this.#validFor };
    } catch (error) {
      if (error instanceof RevokedError) return { revoked: true, validFor: this.#validFor };
      const { code, message } = Object(error);
      return { code: String(code), message: String(message) };
    }
  }

  get #validFor() {
    const { maxStaleness, staleness } = this.status();
    return this.#accepts ? Infinity : maxStaleness - staleness;
  }
}

/**
 * Asserts that a token that jose has verified is of the right kind and not revoked. A payload without `jti` gets an id that is the same
 * everywhere, so that it can be revoked.
 * @param {Owner} owner
 * @param {{ protectedHeader: unknown, payload: object }} verified the result of `jwtVerify()`
 * @param {object} [options]
 * @param {readonly string[]} [options.types] the accepted kinds of token: by default access tokens
 * @param {string} [options.token] the token itself, required if it has no `jti`
 * @param {number} [options.skew] how many seconds the clock of the issuer may be ahead: 3 by default
 * @param {number} [options.timeout] how long the owner may take, in milliseconds; 5000 by default
 * @throws {RevokedError} when the token has been revoked
 * @throws {TokenError} when the token expired so long ago that its revocation may have been removed
 * @throws {StaleError} when the owner cannot tell, or not in time
 * @throws {InvalidClaimsError} when the token is of another kind, or its claims are invalid
 */
export async function assertGood(owner, { protectedHeader, payload }, { types = ACCESS, token, skew = SKEW, timeout = 5000 } = {}) {
  const claims = /** @type {Claims} */ (payload);
  requireAcceptable(checked(types), protectedHeader, claims, skew);
  if (claims.jti === undefined && token !== undefined) claims.jti = await tokenIdOf(token);
  const asked = clock();
  const verdict = await within(timeout, owner.verdict(claims, Object(protectedHeader).kid));
  const { code, message, revoked, validFor } = /** @type {Record<string, any>} */ (Object(verdict));
  if (code === 'ADIEU_CLAIMS') throw new InvalidClaimsError(message);
  if (code === 'ADIEU_TOKEN') throw new TokenError('token_expired', message);
  if (code === 'ADIEU_USAGE') throw new UsageError(message);
  if (revoked === true) throw new RevokedError();
  // The answer may have been on its way for longer than it is valid.
  if (revoked !== false || !(between(asked, clock()) <= validFor)) throw new StaleError();
}

/**
 * Resolves with the id of a token without `jti`: the SHA-256 of its signing input.
 * @param {string} token
 */
export async function tokenIdOf(token) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(signingInput(token))));
  return btoa(String.fromCharCode(...digest)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/** @returns {never} */
function withoutId() {
  throw new UsageError('a token without jti needs its id: claims.jti = await tokenIdOf(token)');
}

/**
 * Returns a result; undefined if there is none in time.
 * @template T
 * @param {number} milliseconds
 * @param {PromiseLike<T>} result
 * @returns {Promise<T | undefined>}
 */
async function within(milliseconds, result) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const tooLong = new Promise((resolve) => {
    timer = setTimeout(resolve, milliseconds);
  });
  try {
    return await Promise.race([result, /** @type {Promise<undefined>} */ (tooLong)]);
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}
