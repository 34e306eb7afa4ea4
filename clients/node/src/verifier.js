/** Verifies tokens in one call that never uses the network: signature, claims, revocation and staleness. */

import { Blocklist } from './blocklist.js';
import { MAX_TOKEN_BYTES, checkNames, malformed, readObject } from './encoded-object.js';
import { InvalidClaimsError, StaleError, TokenError, UsageError } from './errors.js';
import { emitter } from './events.js';
import { readHeader, unknownKey } from './header.js';
import { KeyFollower } from './key-follower.js';
import { KeySet, fixedKey, isAlgorithm } from './keys.js';
import { Rules } from './token-rules.js';
import { VerifiedTokens } from './verified-tokens.js';

/**
 * @typedef {object} VerifierSettings
 * @property {string} issuer the issuer that tokens must name
 * @property {readonly string[]} [audience] a token must be for one of these; without them, a token for an audience is rejected
 * @property {number} [leeway] the accepted difference between the issuer's clock and this one in seconds, at most 60; 0 by default
 * @property {number} [maxLifetime] how many seconds a token may live; one that lives longer is rejected. Set it to the `max_lifetime` of the
 *   issuer at the node, which keeps revocations for that long
 * @property {number} [maxTokenBytes] the maximum length of a token; a longer one is rejected before it is decoded. 8192 by default
 * @property {'rfc9068' | 'plain' | import('./token-rules.js').Accepted} [profile] `rfc9068`, the default, requires `iss`, `sub`, `jti`, and a
 *   header `typ` of `at+jwt` or `rt+jwt`. `plain` accepts tokens as jsonwebtoken, fast-jwt and Flask-JWT-Extended make them, without `iss`,
 *   `jti` or a kind; use it only if the key signs tokens of this issuer alone
 * @property {string | Uint8Array | import('node:crypto').KeyObject} [key] a fixed key: a secret, a public key in PEM form, or a `KeyObject`. A
 *   token may name a public key by its thumbprint (RFC 7638), as `kid`. With any other `kid`, it is rejected: it needs `keysUrl`
 * @property {string} [algorithm] that of the key; without a key, that of RSA keys that name none, by default RS256
 * @property {string | URL} [keysUrl] where the keys are published; by default, those of the node. A key is used with its own algorithm
 *   only, and a secret is never accepted from a URL
 * @property {{ tokens?: number, bytes?: number }} [cache] remembers verified tokens, so that a signature is verified once: at most 16,384
 *   tokens and 32 MiB, unless set. Revocation and times are checked in each call
 */

/** @typedef {VerifierSettings & import('./blocklist.js').Options} VerifierOptions */

/** @typedef {VerifierSettings & { blocklist: Blocklist, onEvent?: (event: import('./events.js').Event) => void }} SharedVerifierOptions */

/**
 * `sub` may be missing only with another `subjectClaim`, and is then as the issuer wrote it.
 * @typedef {Record<string, unknown> & { sub?: string | number, exp: number, iss?: string, jti?: string, sid?: string }} VerifiedClaims
 */

/** How many headers of an issuer are remembered. Most issuers have one or two for each key. */
const MAX_HEADERS = 64;

/**
 * Verifies the tokens of one issuer. Settings are those of {@link Blocklist} and those below; or pass an existing `blocklist`, whose `issuer`
 * must be the same if tokens may lack `iss`. Unless it has an `issuer`, it is the node's, and known once the node has been read.
 */
export class Verifier {
  /** The revocations: revoke with it. @type {Blocklist} */
  blocklist;
  #owns;
  /** @type {Rules} */
  #rules;
  #audience;
  /** @type {{ current: KeySet | undefined, missed(): void, ready(timeout: number): Promise<void>, close(): void }} */
  #keys;
  /** Headers of authentic tokens, by their text. @type {Map<string, Signed>} */
  #headers = new Map();
  #remembered;
  #maxTokenBytes;

  /** @param {VerifierOptions | SharedVerifierOptions} options */
  constructor(options) {
    const { issuer, audience = [], leeway = 0, maxLifetime, maxTokenBytes = MAX_TOKEN_BYTES, profile = 'rfc9068', ...rest } = options;
    const { key, algorithm, keysUrl, cache, ...others } = rest;
    this.#audience = checkedNames(audience);
    if (!Number.isSafeInteger(maxTokenBytes) || maxTokenBytes < 1) throw new UsageError('maxTokenBytes: must be a whole number, at least 1');
    this.#maxTokenBytes = maxTokenBytes;
    this.#remembered = cache && new VerifiedTokens(cache);
    if (key !== undefined && keysUrl !== undefined) throw new UsageError('keysUrl: is not needed with a key');
    if (key === undefined && algorithm !== undefined && !isAlgorithm(algorithm)) throw new UsageError('algorithm: is not known');
    const fixed = key === undefined ? undefined : new KeySet([fixedKey(key, algorithm)]);
    const shared = 'blocklist' in others ? others.blocklist : undefined;
    this.#owns = shared === undefined;
    this.blocklist = shared ?? new Blocklist({ issuer, .../** @type {import('./blocklist.js').Options} */ (others) });
    try {
      this.#rules = new Rules(issuer, leeway, maxLifetime, profile, this.blocklist.subjectClaim);
      this.#requireOneIssuer();
      this.#keys = fixed
        ? { current: fixed, missed() {}, async ready() {}, close() {} }
        : new KeyFollower(
            keysUrl ?? `${this.blocklist.url}.well-known/jwks.json`,
            isAlgorithm(algorithm) ? algorithm : 'RS256',
            emitter(others.onEvent),
            () => this.#forgetKeys(),
            keysUrl === undefined ? this.blocklist.files : {},
          );
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Returns the claims of a token that is authentic, valid, of this type and not revoked: the whole payload, as the issuer wrote it.
   *
   * A token with an unknown key is rejected, and the keys are read again.
   * @param {unknown} token
   * @param {object} [options]
   * @param {'access' | 'refresh' | null} [options.type] `access` by default, `refresh` for the application's own refresh tokens, or null
   *   for either
   * @param {readonly string[]} [options.audience] instead of the verifier's own
   * @returns {VerifiedClaims}
   * @throws {TokenError} when the token is missing, malformed, not authentic, or not within its validity period
   * @throws {InvalidClaimsError} when its claims are invalid, or of another issuer, audience or kind
   * @throws {import('./errors.js').RevokedError} when it has been revoked
   * @throws {StaleError} when the revocations or the keys are not recent enough
   */
  verify(token, options) {
    return this.verifyWithKey(token, options).claims;
  }

  /**
   * Like {@link verify}, and also returns the id of the key that has verified the token: `kid` of {@link Blocklist.onRevoked} and
   * {@link Blocklist.revokeOnce}. A secret has none.
   * @param {unknown} token
   * @param {{ type?: 'access' | 'refresh' | null, audience?: readonly string[] }} [options]
   * @returns {{ claims: VerifiedClaims, kid: string | undefined }}
   */
  verifyWithKey(token, { type = 'access', audience = this.#audience } = {}) {
    if (type !== 'access' && type !== 'refresh' && type !== null) throw new UsageError('type: must be "access", "refresh" or null');
    if (audience !== this.#audience) checkedNames(audience);
    if (token === undefined || token === null || token === '') throw new TokenError('authorization_required', 'there is no token');
    if (typeof token !== 'string') throw malformed('it is not a text');
    if (token.length > this.#maxTokenBytes) throw new TokenError('invalid_token', 'the token is too long');
    const remembered = this.#remembered?.get(token);
    const verified = remembered ?? this.#authenticate(token);
    const { facts, key } = verified;
    this.#rules.requireGood(facts, audience);
    // Not an object that is kept: the caller may change it.
    const claims = remembered === undefined ? /** @type {Authentic} */ (verified).value : JSON.parse(remembered.text);
    const { iss, jti } = facts.claims;
    if (claims.iss === undefined) this.#requireOneIssuer();
    const whole = claims.iss === iss && claims.jti === jti ? claims : { ...claims, iss, jti };
    this.blocklist.assertNotRevoked(whole, undefined, key.id);
    if (type !== null && facts.kind !== type) throw new InvalidClaimsError(`expected a token of type ${type}`);
    if (remembered === undefined) this.#remembered?.add(token, verified);
    return { claims, kid: key.id };
  }

  /** Whether the keys are known and the revocations are recent enough; for a readiness probe. */
  get isReady() {
    return this.#keys.current !== undefined && this.blocklist.status().fresh;
  }

  /**
   * Resolves once the revocations and the keys are known. Rejects like {@link Blocklist.ready}.
   * @param {{ timeout?: number }} [options] in milliseconds; 30,000 by default
   * @returns {Promise<void>}
   */
  async ready({ timeout = 30_000 } = {}) {
    const until = performance.now() + timeout;
    await this.blocklist.ready({ timeout });
    await this.#keys.ready(until - performance.now());
  }

  /**
   * Stops following; also the blocklist, unless it was passed in. The keys of a URL are not known any more, so no token is accepted
   * afterwards. A fixed key stays: with it, tokens are accepted for as long as the revocations are recent enough.
   */
  close() {
    this.#keys?.close();
    if (this.#owns) this.blocklist.close();
  }

  /**
   * Checks everything about a token that does not change.
   * @param {string} token
   * @returns {Authentic}
   */
  #authenticate(token) {
    const first = token.indexOf('.');
    const last = token.lastIndexOf('.');
    if (first < 0 || first === last || token.indexOf('.', first + 1) !== last) throw malformed('it has not three parts');
    const encodedHeader = token.slice(0, first);
    const known = this.#headers.get(encodedHeader);
    const { header, keys } = known ?? this.#signed(encodedHeader);
    const input = token.slice(0, last);
    const signature = token.slice(last + 1);
    const key = keys.find((each) => each.verify(input, signature));
    if (key === undefined) throw this.#notSigned(header, "the token's signature is wrong");
    // A copy: the text may be a part of a whole request.
    if (known === undefined && this.#headers.size < MAX_HEADERS) this.#headers.set(Buffer.from(encodedHeader).toString(), { header, keys });
    const payload = readObject(token.slice(first + 1, last), 'payload');
    if (this.blocklist.subjectClaim !== 'sub') checkNames(payload);
    return { ...payload, key, facts: this.#rules.check(payload.value, header, token) };
  }

  /**
   * Requires that a token without `iss` is of one issuer: what the blocklist revokes without `iss` must be of the issuer of this verifier.
   * @throws {UsageError}
   */
  #requireOneIssuer() {
    const { issuer } = this.blocklist;
    if (!this.#rules.accepts(undefined) || issuer === undefined || this.#rules.accepts(issuer)) return;
    throw new UsageError(`blocklist: its issuer is ${issuer}, and tokens without iss are of another one here`);
  }

  /** Reads a header. @param {string} encoded @returns {Signed} */
  #signed(encoded) {
    const header = readHeader(encoded);
    const set = this.#keys.current;
    if (set === undefined) throw new StaleError('the keys of the issuer are not known');
    const keys = set.candidates(header);
    if (keys === undefined) {
      this.#keys.missed();
      if (!this.blocklist.status().fresh) throw new StaleError('the keys of the issuer may be out of date');
      throw unknownKey();
    }
    if (keys.length === 0) throw this.#notSigned(header, "the token's algorithm is not that of the key");
    return { header, keys };
  }

  /** The error of a token that no known key has signed. If it names none, a newer one may have. @param {Signed['header']} header @param {string} why */
  #notSigned({ keyId }, why) {
    if (keyId === undefined) this.#keys.missed();
    return new TokenError('invalid_token', why);
  }

  /** Forgets what was verified with keys that are no longer in use. */
  #forgetKeys() {
    this.#headers.clear();
    this.#remembered?.retain(this.#keys.current?.keys ?? []);
  }
}

/** @typedef {{ header: import('./header.js').Header, keys: readonly import('./keys.js').VerifyingKey[] }} Signed */
/** @typedef {import('./verified-tokens.js').Verified & { value: Record<string, unknown> }} Authentic */

/** @param {readonly string[]} audience */
function checkedNames(audience) {
  if (!Array.isArray(audience) || !audience.every((name) => typeof name === 'string')) {
    throw new UsageError("audience: must be a list of names, such as ['shop']");
  }
  return /** @type {readonly string[]} */ (audience);
}
