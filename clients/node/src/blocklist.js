import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';

import { date, requireClaims, subjectOf, text, tokenIdOf } from './claims.js';
import { Connection, refusal } from './connection.js';
import { InvalidClaimsError, NodeError, RevokedError, StaleError } from './errors.js';
import { Follower } from './follower.js';
import { Freshness } from './freshness.js';
import { Revocations } from './revocations.js';

/** @typedef {import('./follower.js').Event} Event */

/**
 * @typedef {object} Options
 * @property {string | URL} url where the Adieu node is
 * @property {string} clientId the name that `adieu client add` was given
 * @property {string} secret what it printed; a byte order mark and the end of a line, as files have them, are not part of it
 * @property {number} [maxStaleness] no token is accepted later than so many milliseconds after its logout was answered;
 *   2000 unless set, and no more than the node's own bound
 * @property {'refuse' | 'accept'} [whenStale] what to do when that can't be promised: `refuse` (a {@link StaleError}),
 *   which is the default, or `accept` what is not known to be revoked
 * @property {string} [issuer] the issuer of tokens without `iss`; the node's own unless set
 * @property {number} [lifetime] how many milliseconds a token of the application lives at most: for how long the end of a session
 *   of its own is kept; as long as any token of the node unless set
 * @property {boolean} [unref] whether the process may end while this follows; true unless set. Whatever waits for
 *   `ready()` or a `revoke…()` keeps it alive
 * @property {(event: Event) => void} [onEvent] is told what happens; writes warnings and errors to the console unless set
 */

/**
 * The verified claims of a token. What else is in there does not matter.
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
 * What the node says about a revocation: `message`, `sessions_ended`, and, with `everywhere`, how many followers
 * acknowledged it (`acknowledged`) or had their time run out (`waited_out`), or are allowed to accept when they know
 * nothing (`unbounded`).
 * @typedef {{ message: string, sessions_ended?: number, everywhere?: { acknowledged: number, waited_out: number, unbounded: number } } & Record<string, unknown>} Revoked
 */

/**
 * @typedef {object} Status
 * @property {boolean} ready whether everything has been read once
 * @property {boolean} fresh whether a token would be accepted now
 * @property {number} staleness how many milliseconds ago everything was certainly known; infinite when it never was
 * @property {number} revocations how many are known
 * @property {number} staleRefusals how many checks ended in a {@link StaleError}
 * @property {number} staleAcceptances how many were accepted although this was stale
 * @property {string} follower the id of this follower
 * @property {string | undefined} cursor how far it has read
 * @property {string | undefined} issuer the issuer of tokens without `iss`, once known
 * @property {Error | undefined} failure why the last read failed, if it did
 */

/** Between two tries to revoke, in milliseconds. */
const RETRY = 100;

/** For how many seconds it is remembered who used a token up. */
const MARK_KEPT = 60;

/** In milliseconds. */
const LONGEST_STALENESS = 86_400_000;

/** How many milliseconds ahead of the clock of a node a cut-off is over at the latest. */
const MOST_AHEAD = 61_000;

/**
 * Follows an Adieu node, and says locally whether a token has been revoked.
 *
 * 1. A token is refused from the moment on that `revoke()` has resolved here, and no later than `maxStaleness` after its
 *    logout was answered anywhere.
 * 2. When that can't be promised, `isRevoked()` throws a {@link StaleError}, unless `whenStale` is `accept`. Until everything
 *    has been read once it does so in any case.
 * 3. `isRevoked()` asks nobody. It expects claims whose signature, `exp` and `iss` have been verified.
 * 4. It says nothing about whether a refresh token of Adieu has been used before: only the node can. A service accepts access
 *    tokens only.
 */
export class Blocklist {
  #connection;
  #revocations = new Revocations();
  #freshness = new Freshness();
  #follower;
  #maxStaleness;
  #whenStale;
  #issuer;
  #lifetime;
  #onEvent;
  #unref;
  /** Whether the last check was stale: so that it is told once, not once a check. */
  #wasStale = false;
  #staleRefusals = 0;
  #staleAcceptances = 0;
  /** What keeps the process alive, if anything does. @type {NodeJS.Timeout | undefined} */
  #holding;
  #holders = 0;

  /** @param {Options} options */
  constructor(options) {
    const { url, clientId, maxStaleness = 2000, whenStale = 'refuse', issuer, lifetime, unref = true, onEvent } = options;
    if (typeof clientId !== 'string' || !clientId || clientId.includes(':')) {
      throw new TypeError('clientId: must be the name of a client');
    }
    // As a file has it: with a byte order mark before it, and the end of the line after it.
    const secret = typeof options.secret === 'string' && options.secret.replace(/^\uFEFF|[\r\n]+$/g, '');
    if (!secret) throw new TypeError('secret: must be the secret of the client');
    if (lifetime !== undefined && !(Number.isFinite(lifetime) && lifetime > 0)) {
      throw new TypeError('lifetime: must be a number of milliseconds');
    }
    if (!Number.isInteger(maxStaleness) || maxStaleness < 50 || maxStaleness > LONGEST_STALENESS) {
      throw new TypeError(`maxStaleness: must be a whole number of milliseconds between 50 and ${LONGEST_STALENESS}`);
    }
    if (whenStale !== 'refuse' && whenStale !== 'accept') throw new TypeError('whenStale: must be "refuse" or "accept"');
    if (issuer !== undefined && (typeof issuer !== 'string' || !issuer)) throw new TypeError('issuer: must be a text');
    this.#maxStaleness = maxStaleness;
    this.#whenStale = whenStale;
    this.#issuer = issuer;
    this.#lifetime = lifetime;
    this.#onEvent = onEvent ?? tellConsole;
    this.#connection = new Connection(url, clientId, secret);
    const settings = { maxStaleness, whenStale };
    this.#follower = new Follower(this.#connection, this.#revocations, this.#freshness, settings, (event) => this.#emit(event));
    this.#unref = unref;
    if (!unref) this.#hold();
    void this.#follower.run();
  }

  /**
   * Resolves when everything has been read once. Goes on trying while the node can't be reached, and rejects when it refuses
   * this client or these settings, or when the time is over.
   * @param {{ timeout?: number }} [options] in milliseconds; 30,000 unless set
   * @returns {Promise<void>}
   */
  async ready({ timeout = 30_000 } = {}) {
    await this.#keepingAlive(async () => {
      /** @type {NodeJS.Timeout | undefined} */
      let timer;
      const tooLong = new Promise((_, reject) => {
        timer = setTimeout(() => {
          const why = this.#follower.failure;
          reject(new NodeError(`not ready after ${timeout} ms${why ? `: ${why.message}` : ''}`, { cause: why }));
        }, timeout);
      });
      await Promise.race([this.#follower.ready(), tooLong]).finally(() => clearTimeout(timer));
    });
  }

  /**
   * Whether a token has been revoked: itself, its session, everything of its subject or of its issuer up to a time.
   * @param {Claims} claims
   * @param {string} [token] the token itself, which is needed if it has no `jti`: what is signed then stands for it
   * @returns {boolean}
   * @throws {StaleError} when this does not know enough to say that it has not
   * @throws {InvalidClaimsError} when the claims are none that can be judged: without `exp` no revocation could be kept long
   *   enough
   * @throws {TypeError} when there is neither `jti` nor `token`
   */
  isRevoked(claims, token) {
    const facts = this.#facts(claims, token);
    // How old this is is asked after what is known, so that a pause between the two counts.
    if (facts !== undefined && this.#revocations.check(facts) !== undefined) return true;
    this.#requireFresh();
    return false;
  }

  /**
   * The same as an error.
   * @param {Claims} claims
   * @param {string} [token]
   * @throws {RevokedError} when the token has been revoked
   * @throws {StaleError} when this does not know enough to say that it has not
   */
  assertNotRevoked(claims, token) {
    if (this.isRevoked(claims, token)) throw new RevokedError();
  }

  /**
   * Logs a token out: the token, and its whole session when it has one (`sid`). When this resolves, that is on stable storage and
   * known here; when it rejects, it may not have happened, and the answer to the user must not be success.
   * @param {Claims & { keepUntil?: number }} claims those of the token, or at least its `jti` and, if it has one, its `iss`. With
   *   `exp` the revocation is kept as long as is needed; without, until `keepUntil` (in seconds since 1970), or as long as any
   *   token of the node could live
   * @param {RevokeOptions & { token?: string }} [options] `token`: the token itself, in case that it has no `jti`
   * @returns {Promise<Revoked>}
   */
  async revoke(claims, { token, ...options } = {}) {
    requireClaims(claims);
    const tokenId = text(claims.jti, 'jti') ?? (token === undefined ? undefined : tokenIdOf(token));
    const session = text(claims.sid, 'sid');
    const issuer = this.#issuerOf(claims);
    const { exp, keepUntil } = claims;
    /** @type {Record<string, unknown>[]} */
    const revocations = [];
    if (tokenId !== undefined) {
      /** @type {Record<string, unknown>} */
      const one = { token_id: tokenId, issuer };
      // Not as `expires_at`, by which the node would look the token up: it is found whatever was said here.
      if (typeof exp === 'number') one.keep_until = Math.floor(exp);
      else if (keepUntil !== undefined) one.keep_until = keepUntil;
      else if (this.#lifetime !== undefined) one.keep_until = this.#longest;
      revocations.push(one);
    }
    if (session !== undefined) revocations.push({ session, issuer, keep_until: this.#longest });
    if (revocations.length === 0) throw new TypeError('a token without jti and sid is revoked by itself: give it as `token`');
    return this.#revoke({ revocations }, options, (ownIssuer) => {
      if (tokenId !== undefined) this.#revocations.addOwn('token', issuer ?? ownIssuer, tokenId);
      if (session !== undefined) this.#revocations.addOwn('session', issuer ?? ownIssuer, session);
    });
  }

  /**
   * Uses a token up: revokes it alone, and says whether this call did it. Of any number of calls for one token, in all processes and at
   * all nodes, one resolves with true. So a refresh token of the application is good for one time. Rejects as {@link revoke}, and with
   * what {@link isRevoked} throws.
   * @param {Claims} claims
   * @param {{ token?: string, timeout?: number }} [options] as of {@link revoke}
   * @returns {Promise<boolean>}
   */
  async revokeOnce(claims, { token, timeout = 5000 } = {}) {
    // Whatever is before the cursor is in the memory that is asked after it.
    const { cursor } = this.#follower;
    if (this.isRevoked(claims, token)) return false;
    const facts = /** @type {import('./revocations.js').Facts} */ (this.#facts(claims, token));
    const { tokenId, expiresAt } = facts;
    const issuer = this.#issuerOf(claims);
    // The log has one order, and what is sent together is together there. So whoever finds nothing about the token between the
    // cursor and its own revocation, which is the one right before its mark, was the first.
    const mark = randomBytes(18).toString('base64url');
    const keepUntil = Math.ceil(Date.now() / 1000) + MARK_KEPT;
    const revocations = [
      { token_id: tokenId, issuer, keep_until: expiresAt },
      { token_id: mark, issuer, keep_until: keepUntil },
    ];
    await this.#revoke({ revocations }, { timeout }, (ownIssuer) => this.#revocations.addOwn('token', issuer ?? ownIssuer, tokenId));
    const earlier = new Revocations();
    let last;
    for await (const entry of this.#follower.entriesAfter(cursor, timeout)) {
      if (entry.id === mark) return earlier.check(facts) === undefined;
      if (last !== undefined) earlier.add(last);
      last = entry;
    }
    throw new NodeError('the token is used up, but by whom was not heard of in time');
  }

  /**
   * Ends a session of the node: its access tokens and its refresh token. As {@link revoke}.
   * @param {string} session its `sid`
   * @param {RevokeOptions} [options]
   */
  async revokeSession(session, options = {}) {
    if (text(session, 'sid') === undefined) throw new TypeError('the session is missing');
    return this.#revoke({ session }, options, (ownIssuer) => this.#revocations.addOwn('session', ownIssuer, session));
  }

  /**
   * Ends everything that a subject has been issued until now. As {@link revoke}. It resolves once the second of the cut-off is over
   * by the clock of this machine, so that a token that is issued afterwards is good; for an issuer other than the node that is after
   * the seconds that its clock may be ahead: 3 unless the node has it otherwise, a minute at most.
   * @param {string | number} subject its `sub`
   * @param {RevokeOptions & { iss?: string }} [options] `iss`: who issued it; the issuer of tokens without `iss` unless set
   */
  async revokeSubject(subject, { iss, ...options } = {}) {
    const name = subjectOf(subject);
    if (name === undefined) throw new TypeError('the subject is missing');
    // Until when is for the node to say, so the answer is looked up rather than guessed.
    const issuer = iss ?? this.#issuer;
    return this.#revoke({ subject: name, issuer }, options, async (ownIssuer) => {
      await this.#follower.peek();
      await this.#untilPast(this.#revocations.cutOff(issuer ?? ownIssuer, name), options.timeout);
    });
  }

  /** How it stands, for health checks and metrics. @returns {Status} */
  status() {
    const { staleness } = this.#freshness;
    const { isReady, id, cursor, failure } = this.#follower;
    return {
      ready: isReady,
      fresh: isReady && staleness <= this.#maxStaleness,
      staleness,
      revocations: this.#revocations.size,
      staleRefusals: this.#staleRefusals,
      staleAcceptances: this.#staleAcceptances,
      follower: id,
      cursor,
      issuer: this.#issuer ?? this.#follower.issuer,
      failure,
    };
  }

  /** Stops following. What is known stays known, and soon is stale. */
  close() {
    if (this.#connection.isClosed) return;
    this.#connection.close();
    if (!this.#unref) this.#release();
  }

  [inspect.custom]() {
    return `Blocklist ${inspect({ url: this.#connection.url, ...this.status() })}`;
  }

  /**
   * @param {Claims} claims
   * @param {string | undefined} token
   */
  #facts(claims, token) {
    requireClaims(claims);
    const expiresAt = date(claims.exp, 'exp');
    if (expiresAt === undefined) throw new InvalidClaimsError('a token without exp outlives its revocation, and can\'t be judged');
    const issuer = this.#issuerOf(claims) ?? this.#follower.issuer;
    const session = text(claims.sid, 'sid');
    const subject = subjectOf(claims.sub);
    const issuedAt = date(claims.iat, 'iat');
    const tokenId = text(claims.jti, 'jti') ?? (token === undefined ? undefined : tokenIdOf(token));
    if (tokenId === undefined) throw new TypeError('a token without jti is known by itself: give it as `token`');
    return issuer === undefined ? undefined : { issuer, tokenId, session, subject, issuedAt, expiresAt };
  }

  /** @param {Claims} claims */
  #issuerOf(claims) {
    return text(claims.iss, 'iss') ?? this.#issuer;
  }

  /** When the last token of the application expires that is issued now, if that is known. In seconds. */
  get #longest() {
    return this.#lifetime === undefined ? undefined : Math.ceil((Date.now() + this.#lifetime) / 1000);
  }

  /**
   * Waits until a second is over by the clock of this machine.
   * @param {number} second
   * @param {number} [timeout]
   */
  async #untilPast(second, timeout = 5000) {
    // No cut-off reaches further, so the rest is what the clocks disagree by.
    const until = performance.now() + MOST_AHEAD + timeout;
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

  #requireFresh() {
    const isStale = this.#freshness.staleness > this.#maxStaleness;
    const accepts = this.#whenStale === 'accept' && this.#follower.isReady;
    if (isStale !== this.#wasStale) {
      this.#wasStale = isStale;
      if (!isStale) this.#emit({ type: 'fresh', level: 'info', message: 'the state of revocations is recent again' });
      else {
        const message = `the state of revocations is too old to tell; tokens are ${accepts ? 'accepted' : 'refused'}`;
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
   * @param {(ownIssuer: string) => void | Promise<void>} learn makes it known here
   * @returns {Promise<Revoked>}
   */
  #revoke(body, { everywhere = false, timeout = 5000 }, learn) {
    return this.#keepingAlive(async () => {
      const until = performance.now() + timeout;
      // Half, so that a connection that says nothing any more leaves time for another. An answer that waits for everybody
      // comes no later than the bound of the node and a second.
      const firstByte = everywhere ? (this.#follower.nodeBound ?? LONGEST_STALENESS) + 1000 + timeout : timeout / 2;
      const path = everywhere ? 'revocations?wait=everywhere' : 'revocations';
      /** @type {Revoked} */
      let revoked;
      for (;;) {
        try {
          const answer = await this.#connection.ask(path, { firstByte, body });
          if (answer.status !== 200) throw refusal(answer, this.#connection.url);
          revoked = JSON.parse(answer.text);
          break;
        } catch (error) {
          // It is the same however often it is done, so what was lost on the way is sent again.
          const failure = error instanceof NodeError ? error : new NodeError('the answer is not JSON', { cause: error });
          const left = until - performance.now();
          if (failure.isPermanent || this.#connection.isClosed || left < RETRY) throw failure;
          await this.#connection.pause(RETRY);
        }
      }
      // Before everything has been read once nothing is accepted anyway.
      const learned = this.#follower.ready().then(() => learn(this.#follower.issuer ?? ''));
      // If this fails it has been revoked all the same: here that is known with the next page, or nothing is accepted.
      const told = learned.catch(() => {});
      if (this.#follower.isReady) await told;
      return revoked;
    });
  }

  /** @param {Event} event */
  #emit(event) {
    try {
      this.#onEvent(event);
    } catch (error) {
      // Whoever listens must not stop whoever follows.
      console.error('adieu: onEvent failed:', error);
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

/** @param {Event} event */
function tellConsole({ level, message }) {
  if (level !== 'info') console[level](`adieu: ${message}`);
}
