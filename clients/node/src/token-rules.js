/** The rules that the claims of an authentic token must satisfy, in the order in which a node checks them. */

import { SKEW } from './acceptance.js';
import { date, subjectOf, text } from './claims.js';
import { InvalidClaimsError, TokenError, UsageError } from './errors.js';
import { CLAIMS, kindOf } from './kind.js';
import { tokenIdOf } from './token-id.js';

/** @typedef {import('./header.js').Kind} Kind */
/** @typedef {import('./header.js').Header} Header */

/**
 * What a profile accepts beyond RFC 9068, like the settings `accept_…` of a trusted issuer at a node.
 * @typedef {object} Accepted
 * @property {boolean} [genericType] a header without `typ` or with `JWT`, if a claim such as `type` says what kind of token it is
 * @property {boolean} [missingType] a token that names no kind, as an access token; implies `genericType`
 * @property {boolean} [missingIssuer] a token without `iss`
 * @property {boolean} [missingTokenId] a token without `jti`
 * @property {boolean} [integerSubject] a whole number as `sub`
 */

/** @type {Record<string, Accepted>} */
const PROFILES = {
  rfc9068: {},
  plain: { missingType: true, missingIssuer: true, missingTokenId: true, integerSubject: true },
};

/** How many seconds the clocks may differ at most. */
const MAX_LEEWAY = 60;

/**
 * The facts of a token that do not change: `claims` are those that a revocation can match.
 * @typedef {object} Facts
 * @property {import('./blocklist-base.js').Claims & { exp: number, iat?: number | undefined }} claims
 * @property {number} begins the later one of `nbf` and `iat`; 0 if both are missing
 * @property {readonly string[] | undefined} audience
 * @property {Kind} kind
 */

export class Rules {
  #issuer;
  #leeway;
  #maxLifetime;
  #accepted;
  #subjectClaim;

  /**
   * @param {string} issuer
   * @param {number} leeway
   * @param {number | undefined} maxLifetime
   * @param {'rfc9068' | 'plain' | Accepted} profile
   * @param {string} subjectClaim
   */
  constructor(issuer, leeway, maxLifetime, profile, subjectClaim) {
    if (typeof issuer !== 'string' || issuer === '') throw new UsageError('issuer: must be a text');
    if (typeof leeway !== 'number' || !(leeway >= 0 && leeway <= MAX_LEEWAY)) {
      throw new UsageError(`leeway: must be between 0 and ${MAX_LEEWAY} seconds`);
    }
    if (maxLifetime !== undefined && !(Number.isFinite(maxLifetime) && maxLifetime > 0)) {
      throw new UsageError('maxLifetime: must be a positive number of seconds');
    }
    const accepted = typeof profile === 'object' ? profile : Object.hasOwn(PROFILES, profile) && PROFILES[profile];
    if (!accepted) throw new UsageError('profile: must be "rfc9068", "plain" or an object with the exceptions');
    for (const name of Object.keys(accepted)) {
      if (!(name in { ...PROFILES.plain, genericType: true })) throw new UsageError(`profile: ${name} does not exist`);
    }
    this.#issuer = issuer;
    // Rounded up, as times are whole seconds.
    this.#leeway = Math.ceil(leeway);
    this.#maxLifetime = Math.ceil(maxLifetime ?? Infinity);
    this.#subjectClaim = subjectClaim;
    this.#accepted = { ...accepted, genericType: accepted.genericType || accepted.missingType };
  }

  /** Returns whether a token may have this `iss`. @param {unknown} iss */
  accepts(iss) {
    return iss === undefined ? this.#accepted.missingIssuer === true : iss === this.#issuer;
  }

  /**
   * Returns the facts of an authentic token. Does not check its audience, and the times only for their form.
   * @param {Record<string, unknown>} claims
   * @param {Header} header
   * @param {string} token
   * @returns {Facts}
   * @throws {InvalidClaimsError}
   */
  check(claims, header, token) {
    const { iss, fresh } = claims;
    if (!this.accepts(iss)) throw new InvalidClaimsError('the token is from another issuer');
    const audience = audienceOf(claims.aud);
    const kind = this.#kind(header, claims);
    const named = claims[this.#subjectClaim];
    // Another claim is a text at a node, whatever the profile.
    const mayBeInteger = this.#accepted.integerSubject && this.#subjectClaim === 'sub';
    const subject = mayBeInteger ? subjectOf(named, this.#subjectClaim) : text(named, this.#subjectClaim);
    if (subject === undefined) throw new InvalidClaimsError(`the token lacks the claim ${this.#subjectClaim}`);
    const session = text(claims.sid, 'sid');
    let tokenId = text(claims.jti, 'jti');
    if (tokenId === undefined) {
      if (!this.#accepted.missingTokenId) throw new InvalidClaimsError('the token lacks the claim jti');
      tokenId = tokenIdOf(token);
    }
    if (typeof fresh !== 'boolean') date(fresh, 'fresh');
    const exp = date(claims.exp, 'exp');
    if (exp === undefined) throw new InvalidClaimsError('the token lacks the claim exp');
    const iat = date(claims.iat, 'iat');
    const begins = Math.max(date(claims.nbf, 'nbf') ?? 0, iat ?? 0);
    return { claims: { iss: this.#issuer, jti: tokenId, sid: session, sub: subject, iat, exp }, begins, audience, kind };
  }

  /**
   * Requires that a token is within its validity period, and for one of these audiences.
   * @param {Facts} facts
   * @param {readonly string[]} audience
   * @throws {TokenError | InvalidClaimsError}
   */
  requireGood({ claims, begins, audience: named }, audience) {
    if (named === undefined ? audience.length > 0 : !named.some((name) => audience.includes(name))) {
      throw new InvalidClaimsError('the token is not meant for this audience');
    }
    const now = Math.floor(Date.now() / 1000);
    if (claims.exp > (claims.iat ?? now) + this.#maxLifetime) throw new InvalidClaimsError('the token lives too long');
    if (begins > now + Math.max(this.#leeway, SKEW)) throw new TokenError('token_not_yet_valid', 'the token is not valid yet');
    // A token expires at `exp`, not after it (RFC 7519 section 4.1.4).
    if (now >= claims.exp + this.#leeway) throw new TokenError('token_expired', 'the token has expired');
  }

  /**
   * Returns the kind of a token, on which header and claims must agree.
   * @param {Header} header
   * @param {Record<string, unknown>} claims
   * @returns {Kind}
   */
  #kind({ kind: declared }, claims) {
    /** @type {Kind | undefined} */
    let named;
    for (const claim of CLAIMS) {
      const value = claims[claim];
      if (value === undefined) continue;
      const word = kindOf(value);
      if (word === undefined) continue;
      const kind = word === 'rt+jwt' ? 'refresh' : word;
      if ((kind !== 'access' && kind !== 'refresh') || (named ?? kind) !== kind) {
        throw new InvalidClaimsError(`the claim ${claim} names another kind of token`);
      }
      named = kind;
    }
    if (declared === undefined && this.#accepted.genericType) {
      declared = named ?? (this.#accepted.missingType ? 'access' : undefined);
    }
    if (declared === undefined || declared === 'other') throw new InvalidClaimsError('the token does not name its kind');
    if (named !== undefined && named !== declared) throw new InvalidClaimsError('header and claims name different kinds of token');
    return declared;
  }
}

/** @param {unknown} value */
function audienceOf(value) {
  if (value === undefined) return undefined;
  if (typeof value === 'string') return [value];
  if (Array.isArray(value) && value.every((name) => typeof name === 'string')) return /** @type {string[]} */ ([...value]);
  throw new InvalidClaimsError('the claim aud must be a text or a list of texts');
}
