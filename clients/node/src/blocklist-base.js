import { SKEW } from './acceptance.js';
import { claimId, claimText, date, lastSecond, requireClaims, subjectOf, text } from './claims.js';
import { refusal, textOf } from './connection.js';
import { InvalidClaimsError, NodeError, RevokedError, StaleError, TokenError, UsageError } from './errors.js';
import { emitter } from './events.js';
import { Follower } from './follower.js';
import { Freshness } from './freshness.js';
import { Hooks } from './hooks.js';
import { Revocations } from './revocations.js';
import { MAX_STALENESS } from './settings.js';

/**
 * The verified claims of a token. Of other claims, those matter that are revoked: see {@link Blocklist.revokeClaim}.
 * @typedef {object} Claims
 * @property {unknown} [iss]
 * @property {unknown} [jti]
 * @property {unknown} [sid]
 * @property {unknown} [sub]
 * @property {unknown} [iat]
 * @property {unknown} [exp]
 */

/**
 * @typedef {object} RevokeOptions
 * @property {boolean} [everywhere] whether to wait until no live follower accepts the token any more
 * @property {number} [timeout] how long to try, in milliseconds; 5000 unless set
 */

/**
 * The response of the node to a revocation: `message`, `sessions_ended`, and, with `everywhere`, how many followers acknowledged it
 * (`acknowledged`), became stale (`waited_out`), or are configured to accept when stale (`unbounded`).
 * @typedef {{ message: string, sessions_ended?: number, everywhere?: { acknowledged: number, waited_out: number, unbounded: number } } & Record<string, unknown>} Revoked
 */

/**
 * @typedef {object} Status
 * @property {boolean} ready whether the whole log has been read once
 * @property {boolean} fresh whether the memory is within the bound
 * @property {number} staleness how many milliseconds ago the memory was known to be complete; infinite when it never was
 * @property {number} maxStaleness the bound, in milliseconds
 * @property {number} revocations the number of known revocations
 * @property {number} staleRefusals the number of checks that ended in a {@link StaleError}
 * @property {number} staleAcceptances the number of tokens that were accepted while the memory was stale
 * @property {string} follower the id of this follower
 * @property {string | undefined} cursor the position up to which it has read
 * @property {string | undefined} issuer the issuer of tokens without `iss`, once known
 * @property {Error | undefined} failure the error of the last read, if it failed
 */

/** The delay between two attempts to revoke, in milliseconds. */
const RETRY = 100;

/** How many seconds the mark of a caller that used a token up is kept. */
const MARK_KEPT = 60;

/** The maximum number of milliseconds by which a cut-off ends ahead of a node's clock. */
const MAX_CLOCK_LEAD = 61_000;

/**
 * What differs between runtimes.
 * @typedef {object} Runtime
 * @property {import('./connection.js').Peer} connection
 * @property {boolean} follows whether to read in the background, besides in {@link BlocklistBase.fresh}
 * @property {(token: string) => string} tokenIdOf returns the id of a token without `jti`
 */

/**
 * Checks locally whether a token has been revoked, in any runtime.
 *
 * 1. A token counts as revoked as soon as `revoke()` has resolved here, and no later than `maxStaleness` after its logout was answered
 *    anywhere.
 * 2. Past that bound, `isRevoked()` throws a {@link StaleError}, unless `stalePolicy` is `accept`. Until the whole log has been read once,
 *    it always does.
 * 3. `isRevoked()` is a lookup in memory. It expects claims whose signature, `exp` and `iss` have been verified.
 * 4. It does not report whether a refresh token of Adieu has been used before: only the node knows. A service accepts access tokens
 *    only.
 */
export class BlocklistBase {
  #connection;
  /** The names that the node has had. @type {string[]} */
  #names = [];
  #revocations = new Revocations(this.#names);
  #freshness = new Freshness();
  #follower;
  #hooks;
  #maxStaleness;
  #stalePolicy;
  #staleTimeout;
  #issuer;
  #subjectClaim;
  #lifetime;
  #emit;
  #unref;
  #tokenIdOf;
  /** Whether the last check was stale, so that an event is emitted once per outage, not once per check. */
  #wasStale = false;
  #staleRefusals = 0;
  #staleAcceptances = 0;
  /** The timer that keeps the process alive, if needed. @type {NodeJS.Timeout | undefined} */
  #holding;
  #holders = 0;

  /**
   * @param {ReturnType<import('./settings.js').settingsOf>} settings
   * @param {Runtime} runtime
   */
  constructor(settings, { connection, follows, tokenIdOf }) {
    const { maxStaleness, stalePolicy, issuer } = settings;
    this.#maxStaleness = maxStaleness;
    this.#stalePolicy = stalePolicy;
    this.#staleTimeout = settings.staleTimeout;
    this.#issuer = issuer;
    this.#subjectClaim = settings.subjectClaim;
    this.#lifetime = settings.lifetime;
    this.#emit = emitter(settings.onEvent);
    this.#connection = connection;
    this.#tokenIdOf = tokenIdOf;
    this.#follower = new Follower(this.#connection, this.#revocations, this.#freshness, { maxStaleness, stalePolicy, issuer }, this.#emit);
    this.#hooks = new Hooks(this.#revocations, this.#freshness, this.#maxStaleness, this.#emit);
    this.#unref = settings.unref;
    if (!this.#unref) this.#hold();
    if (follows) void this.#follower.run();
  }

  /** The claim that names the user. */
  get subjectClaim() {
    return this.#subjectClaim;
  }

  /** The issuer of tokens without `iss`: by default the node's own, once known. */
  get issuer() {
    return this.#issuer ?? this.#names.at(-1);
  }

  /** The address of the node. */
  get url() {
    return this.#connection.url;
  }

  /**
   * Resolves once the whole log has been read. Retries while the node cannot be reached; rejects when the node rejects this client or
   * these settings, or after the timeout.
   * @param {{ timeout?: number }} [options] in milliseconds; 30,000 by default
   * @returns {Promise<void>}
   */
  async ready({ timeout = 30_000 } = {}) {
    await this.#keepingAlive(() => this.#follower.ready(timeout));
  }

  /**
   * Waits, if the memory is stale, until it is fresh again, for `staleTimeout` at most: reads from the node at once, one time for all
   * callers. Resolves with whether it is fresh. Call it before a check in a process that may have been frozen; the integrations for
   * express-jwt and `@fastify/jwt` do.
   * @returns {Promise<boolean>}
   */
  async fresh() {
    if (this.#isStale && this.#staleTimeout > 0) await this.#keepingAlive(() => this.#untilFresh());
    return !this.#isStale;
  }

  /**
   * Returns whether a token has been revoked: the token, its session, everything of its subject, of another claim or of its issuer up to a
   * time, or its key. Also returns true for a token that expired so long ago that its revocation may have been removed.
   * @param {Claims} claims
   * @param {string} [token] the token itself, required if it has no `jti`: its signing input then identifies it
   * @param {string} [kid] that of the token's header, or of `verifyWithKey`: without it, the revocation of a key by an administrator is not
   *   noticed
   * @returns {boolean}
   * @throws {StaleError} when the memory is stale
   * @throws {InvalidClaimsError} when the claims are invalid: without `exp`, no revocation could be kept long enough
   * @throws {TypeError} when both `jti` and `token` are missing
   */
  isRevoked(claims, token, kid) {
    return this.#check(claims, token, kid) !== undefined;
  }

  /**
   * Like {@link isRevoked}, but throws if the token has been revoked.
   * @param {Claims} claims
   * @param {string} [token]
   * @param {string} [kid]
   * @throws {RevokedError} when the token has been revoked
   * @throws {TokenError} when the token expired so long ago that its revocation may have been removed
   * @throws {StaleError} when the memory is stale
   */
  assertNotRevoked(claims, token, kid) {
    const by = this.#check(claims, token, kid);
    if (by === 'forgotten') throw new TokenError('token_expired', 'the token has expired');
    if (by !== undefined) throw new RevokedError();
  }

  /**
   * Revokes a token, and its whole session if it has one (`sid`). When this resolves, the revocation is on stable storage and known
   * here. When it rejects, the revocation may be missing, and the response to the user must not be success.
   * @param {Claims & { keepUntil?: number }} claims those of the token, or at least its `jti` and, if it has one, its `iss`. With
   *   `exp`, the revocation is kept for as long as needed; without, until `keepUntil` (in seconds since 1970), or as long as any token of
   *   the node could live
   * @param {RevokeOptions & { token?: string }} [options] `token`: the token itself, required if it has no `jti`
   * @returns {Promise<Revoked>}
   */
  async revoke(claims, { token, ...options } = {}) {
    requireClaims(claims);
    const tokenId = text(claims.jti, 'jti') ?? (token === undefined ? undefined : this.#tokenIdOf(token));
    const session = text(claims.sid, 'sid');
    const issuer = this.#issuerOf(claims);
    const { exp, keepUntil } = claims;
    /** @type {Record<string, unknown>[]} */
    const revocations = [];
    /** @type {number | undefined} */
    let kept;
    if (tokenId !== undefined) {
      // Not as `expires_at`, with which the node would look the token up: a wrong value would hide the revocation.
      if (typeof exp === 'number') kept = date(exp, 'exp');
      else kept = keepUntil === undefined ? this.#longest : lastSecond(keepUntil);
      revocations.push({ token_id: tokenId, issuer, keep_until: kept });
    }
    if (session !== undefined) revocations.push({ session, issuer, keep_until: this.#longest });
    if (revocations.length === 0) throw new UsageError('a token without jti and sid is revoked by itself: give it as `token`');
    return this.#revoke({ revocations }, options, () => {
      if (tokenId !== undefined) this.#revocations.addOwn('token', this.#knownAs(issuer), tokenId, kept);
      if (session !== undefined) this.#revocations.addOwn('session', this.#knownAs(issuer), session);
    });
  }

  /**
   * Uses a token up: revokes it alone, and resolves with whether this call was the first. Of any number of calls for one token, in all
   * processes and at all nodes, one resolves with true. Use it so that a refresh token of the application works once. Rejects like
   * {@link revoke}, and with the errors of {@link isRevoked}.
   * @param {Claims} claims
   * @param {{ token?: string, kid?: string, timeout?: number }} [options] as for {@link revoke}; `kid` as for {@link isRevoked}
   * @returns {Promise<boolean>}
   */
  async revokeOnce(claims, { token, kid, timeout = 5000 } = {}) {
    // The memory, which is read after the cursor, has everything before the cursor.
    const { cursor } = this.#follower;
    if (this.isRevoked(claims, token, kid)) return false;
    const facts = /** @type {import('./revocations.js').Facts} */ (this.#facts(claims, token, kid));
    const { tokenId, expiresAt } = facts;
    const issuer = this.#issuerOf(claims);
    // The log has one order, and revocations of one request are adjacent. The caller that finds nothing about the token between the
    // cursor and its own revocation, which is right before its mark, was the first.
    const mark = crypto.randomUUID();
    const keepUntil = Math.ceil(Date.now() / 1000) + MARK_KEPT;
    const revocations = [
      { token_id: tokenId, issuer, keep_until: expiresAt },
      { token_id: mark, issuer, keep_until: keepUntil },
    ];
    await this.#revoke({ revocations }, { timeout }, () => this.#revocations.addOwn('token', this.#knownAs(issuer), tokenId, expiresAt));
    const earlier = new Revocations(this.#names);
    let last;
    for await (const entry of this.#follower.entriesAfter(cursor, timeout)) {
      if (entry.id === mark) return earlier.check(facts) === undefined;
      if (last !== undefined) earlier.add(last);
      last = entry;
    }
    throw new NodeError('ADIEU_UNDECIDED', 'the token is used up, but by whom was not heard of in time');
  }

  /**
   * Ends a session: all of its access tokens and, if it is one of the node, its refresh token. Like {@link revoke}.
   * @param {string} session its `sid`
   * @param {RevokeOptions & { iss?: string }} [options] `iss`: its issuer; by default the issuer of tokens without `iss`
   */
  async revokeSession(session, { iss, ...options } = {}) {
    if (text(session, 'sid') === undefined) throw new UsageError('the session is missing');
    const issuer = text(iss, 'iss') ?? this.#issuer;
    return this.#revoke({ session, issuer, keep_until: this.#longest }, options, () => {
      this.#revocations.addOwn('session', this.#knownAs(issuer), session);
    });
  }

  /**
   * Revokes everything issued to a subject until now. Like {@link revoke}. It resolves once the second of the cut-off is over by the
   * clock of this machine, so that tokens issued afterwards are good. For an issuer other than the node, it adds the seconds by which
   * that issuer's clock may be ahead: 3 by default, at most a minute. A client that may only `revoke` cannot read the cut-off, and waits
   * for 3 seconds. If the cut-off cannot be read in time, this rejects, although the revocation is durable.
   * @param {string | number} subject its `sub`
   * @param {RevokeOptions & { iss?: string }} [options] `iss`: its issuer; by default the issuer of tokens without `iss`
   */
  async revokeSubject(subject, { iss, ...options } = {}) {
    const name = subjectOf(subject, 'sub');
    if (name === undefined) throw new UsageError('the subject is missing');
    const issuer = text(iss, 'iss') ?? this.#issuer;
    return this.#revokeUntilNow({ subject: name, issuer }, options, () => this.#revocations.cutOff(this.#knownAs(issuer), name));
  }

  /**
   * Revokes everything issued until now that has a claim with this value, or with a list that has it; for example all tokens of a tenant.
   * The node allows the names in its setting `revocable_claims`. Like {@link revokeSubject}.
   * @param {string} name that of the claim
   * @param {string | number | boolean} value a number must be whole, and below 2^53
   * @param {RevokeOptions & { iss?: string }} [options] `iss`: the issuer; by default the issuer of tokens without `iss`
   */
  async revokeClaim(name, value, { iss, ...options } = {}) {
    const known = claimText(value);
    if (typeof name !== 'string' || known === undefined || claimId(name, known) === undefined) {
      throw new UsageError('a claim has a name, and a value that is a text, true or false, or a whole number below 2^53');
    }
    const issuer = text(iss, 'iss') ?? this.#issuer;
    const cutOff = () => this.#revocations.claimCutOff(this.#knownAs(issuer), name, known);
    return this.#revokeUntilNow({ claim: { name, value: known }, issuer }, options, cutOff);
  }

  /**
   * Calls `callback` once when the token with these claims is revoked, in whatever way and also if it was before; for example to close a
   * WebSocket. It is called right after this process knows. If it throws or rejects, that is an event. A token that expires is not
   * revoked.
   * @param {Claims} claims
   * @param {() => unknown} callback
   * @param {string} [token] as for {@link isRevoked}
   * @param {string} [kid] as for {@link isRevoked}
   * @returns {() => void} ends this
   * @throws {StaleError} before the whole log has been read once
   * @throws {InvalidClaimsError} when the claims are invalid
   * @throws {UsageError} when there are 100,000 callbacks, or both `jti` and `token` are missing
   */
  onRevoked(claims, callback, token, kid) {
    const facts = this.#facts({ ...claims }, token, kid);
    if (facts === undefined) throw new StaleError();
    return this.#hooks.watch(facts, callback);
  }

  /**
   * Calls `callback` whenever the memory becomes stale, and soon if it is stale already. Otherwise like {@link onRevoked}.
   * @param {() => unknown} callback
   * @returns {() => void} ends this
   */
  onStale(callback) {
    return this.#hooks.when('stale', callback);
  }

  /**
   * Calls `callback` whenever the memory is fresh again. Otherwise like {@link onRevoked}.
   * @param {() => unknown} callback
   * @returns {() => void} ends this
   */
  onFresh(callback) {
    return this.#hooks.when('fresh', callback);
  }

  /** Returns the current status, for health checks and metrics. @returns {Status} */
  status() {
    const { staleness } = this.#freshness;
    const { isReady, id, cursor, failure } = this.#follower;
    return {
      ready: isReady,
      fresh: !this.#isStale,
      staleness,
      maxStaleness: this.#maxStaleness,
      revocations: this.#revocations.size,
      staleRefusals: this.#staleRefusals,
      staleAcceptances: this.#staleAcceptances,
      follower: id,
      cursor,
      issuer: this.issuer,
      failure,
    };
  }

  /** Stops following. The known revocations stay in memory, which soon becomes stale. */
  close() {
    if (this.#connection.isClosed) return;
    this.#connection.close();
    this.#hooks.close();
    if (!this.#unref) this.#release();
  }

  /**
   * What `util.inspect` shows.
   * @param {number} _depth
   * @param {object} _options
   * @param {(value: unknown) => string} inspect
   */
  [Symbol.for('nodejs.util.inspect.custom')](_depth, _options, inspect) {
    return `Blocklist ${inspect({ url: this.#connection.url, ...this.status() })}`;
  }

  /**
   * Returns what revokes a token; undefined if it is good.
   * @param {Claims} claims
   * @param {string | undefined} token
   * @param {string | undefined} kid
   * @returns {import('./revocations.js').RevokedBy | undefined}
   */
  #check(claims, token, kid) {
    const facts = this.#facts(claims, token, kid);
    const by = facts && this.#revocations.check(facts);
    // Reads the staleness after the revocations, so that a pause in between can only make the check stale.
    if (by === undefined) this.#requireFresh();
    return by;
  }

  /**
   * @param {Claims} claims
   * @param {string | undefined} token
   * @param {string | undefined} kid
   */
  #facts(claims, token, kid) {
    requireClaims(claims);
    if (kid !== undefined && typeof kid !== 'string') throw new InvalidClaimsError('the kid of a token must be a text');
    const expiresAt = date(claims.exp, 'exp');
    if (expiresAt === undefined) throw new InvalidClaimsError('a token without exp outlives its revocation, and can\'t be judged');
    const issuer = text(claims.iss, 'iss') ?? this.issuer;
    const session = text(claims.sid, 'sid');
    const subject = subjectOf(/** @type {Record<string, unknown>} */ (claims)[this.#subjectClaim], this.#subjectClaim);
    const issuedAt = date(claims.iat, 'iat');
    const tokenId = text(claims.jti, 'jti') ?? (token === undefined ? undefined : this.#tokenIdOf(token));
    if (tokenId === undefined) throw new UsageError('a token without jti is known by itself: give it as `token`');
    return issuer === undefined ? undefined : { issuer, tokenId, session, subject, issuedAt, expiresAt, kid, claims };
  }

  /** @param {Claims} claims */
  #issuerOf(claims) {
    return text(claims.iss, 'iss') ?? this.#issuer;
  }

  /** Returns the name of an issuer, which is the node's if none is given. @param {string | undefined} issuer */
  #knownAs(issuer) {
    return issuer ?? this.#names.at(-1) ?? '';
  }

  /** Returns when a token that the application issues now expires at the latest, if known. In seconds. */
  get #longest() {
    return this.#lifetime === undefined ? undefined : Math.ceil((Date.now() + this.#lifetime) / 1000);
  }

  /**
   * Waits until a second is over by the clock of this machine.
   * @param {number} second
   * @param {number} [timeout]
   */
  async #untilPast(second, timeout = 5000) {
    // No cut-off reaches further, so a longer wait would be due to clock skew.
    const until = performance.now() + MAX_CLOCK_LEAD + timeout;
    for (;;) {
      const left = (second + 1) * 1000 - Date.now();
      if (left <= 0 || this.#connection.isClosed) return;
      if (performance.now() > until) {
        const seconds = Math.ceil(left / 1000);
        const message = `tokens that are issued in the next ${seconds} s by the clock here are revoked with the rest`;
        this.#emit({ type: 'clock_behind', level: 'warn', message });
        return;
      }
      await this.#connection.pause(Math.min(left, 100));
    }
  }

  get #isStale() {
    return this.#freshness.staleness > this.#maxStaleness;
  }

  async #untilFresh() {
    let isOver = false;
    /** @type {NodeJS.Timeout | undefined} */
    let timer;
    const over = new Promise((resolve) => {
      timer = setTimeout(() => resolve((isOver = true)), this.#staleTimeout);
    });
    while (this.#isStale && !isOver && !this.#connection.isClosed) {
      // Half of the time, so that a silent connection leaves time for another.
      await Promise.race([this.#follower.refresh(this.#staleTimeout / 2), over]);
    }
    clearTimeout(timer);
  }

  #requireFresh() {
    const isStale = this.#isStale;
    const accepts = this.#stalePolicy === 'accept' && this.#follower.isReady;
    if (isStale !== this.#wasStale) {
      this.#wasStale = isStale;
      if (!isStale) this.#emit({ type: 'fresh', level: 'info', message: 'the state of revocations is recent again' });
      else {
        const message = `the state of revocations is too old to tell; tokens are ${accepts ? 'accepted' : 'rejected'}`;
        this.#emit({ type: 'stale', level: 'warn', message, error: this.#follower.failure });
      }
    }
    if (!isStale) return;
    if (!accepts) {
      this.#staleRefusals += 1;
      throw new StaleError();
    }
    this.#staleAcceptances += 1;
  }

  /**
   * @param {Record<string, unknown>} body
   * @param {RevokeOptions} options
   * @param {() => number} cutOff returns the second of the cut-off, once it is in memory
   * @returns {Promise<Revoked>}
   */
  #revokeUntilNow(body, options, cutOff) {
    return this.#keepingAlive(async () => {
      const revoked = await this.#revoke(body, options, () => {});
      const { timeout = 5000 } = options;
      let second;
      try {
        // Only the node knows the second of the cut-off, so it is read from the feed.
        await this.#repeatedly(timeout, (left) => this.#follower.peek(performance.now() + left));
        second = cutOff();
      } catch (error) {
        if (!(error instanceof NodeError && error.isPermanent)) throw error;
        // This client may not read the feed. The clocks of the node and of the issuer are ahead by so much at most, unless set otherwise.
        second = Math.floor(Date.now() / 1000) + SKEW;
      }
      await this.#untilPast(second, timeout);
      return revoked;
    });
  }

  /**
   * @param {Record<string, unknown>} body
   * @param {RevokeOptions} options
   * @param {() => void} learn adds the revocation to this process's memory
   * @returns {Promise<Revoked>}
   */
  #revoke(body, { everywhere = false, timeout = 5000 }, learn) {
    return this.#keepingAlive(async () => {
      const path = everywhere ? 'revocations?wait=everywhere' : 'revocations';
      // Repeating a revocation changes nothing, so a lost request is sent again.
      const revoked = await this.#repeatedly(timeout, async (left) => {
        // Half of the time, so that a silent connection leaves time for another. A response with `?wait=everywhere` comes no later than
        // the bound of the node plus a second.
        const firstByte = everywhere ? (this.#follower.nodeBound ?? MAX_STALENESS) + 1000 + left : Math.min(timeout / 2, left);
        const answer = await this.#connection.ask(path, { firstByte, body });
        if (answer.status !== 200) throw refusal(answer, this.#connection.url);
        return /** @type {Revoked} */ (JSON.parse(textOf(answer.body)));
      });
      // Until the whole log has been read once, no token is accepted anyway. If this fails, the next read brings the revocation.
      const told = this.#follower.ready().then(learn).catch(() => {});
      if (this.#follower.isReady) await told;
      return revoked;
    });
  }

  /**
   * Repeats what fails for a reason that may pass.
   * @template T
   * @param {number} timeout when it gives up, in milliseconds
   * @param {(left: number) => Promise<T>} work is passed how many milliseconds are left
   * @returns {Promise<T>}
   * @throws {NodeError}
   */
  async #repeatedly(timeout, work) {
    const until = performance.now() + timeout;
    let left = timeout;
    /** @type {NodeError | undefined} */
    let earlier;
    for (;;) {
      try {
        return await work(left);
      } catch (error) {
        let failure = error instanceof NodeError ? error : new NodeError('ADIEU_ANSWER', 'the answer cannot be read', { cause: error });
        // That the last attempt had little time says less than why the one before it failed.
        if (failure.code === 'ADIEU_TIMEOUT') failure = earlier ?? failure;
        earlier = failure;
        left = until - performance.now() - RETRY;
        if (failure.isPermanent || this.#connection.isClosed || left <= 0) throw failure;
        await this.#connection.pause(RETRY);
      }
    }
  }

  /**
   * @template T
   * @param {() => Promise<T>} work
   */
  async #keepingAlive(work) {
    this.#hold();
    try {
      return await work();
    } finally {
      this.#release();
    }
  }

  #hold() {
    this.#holders += 1;
    this.#holding ??= setInterval(() => {}, 2 ** 30);
  }

  #release() {
    this.#holders -= 1;
    if (this.#holders > 0) return;
    clearInterval(this.#holding);
    this.#holding = undefined;
  }
}
