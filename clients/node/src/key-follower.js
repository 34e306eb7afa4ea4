/**
 * Keeps the keys of an issuer in memory up to date.
 *
 * 1. Public keys only: who reads a secret at a URL could sign.
 * 2. The latest answer counts. While there is none, the last keys are used for a day, and then no longer trusted.
 * 3. Few requests: an answer is used for as long as it says, within limits. A token with an unknown key causes an earlier request, but not
 *    more than one every few seconds, so that invented ids do not cause more.
 */

import { NodeError, UsageError } from './errors.js';
import { agentFor, exchange, pause } from './exchange.js';
import { KeySet } from './keys.js';
import { Waiting } from './waiting.js';

/** How long an answer is used in milliseconds: if it does not say, at least, and at most. */
const USUAL_AGE = 300_000;
const MIN_AGE = 60_000;
const MAX_AGE = 3_600_000;

/** How long keys are used while no others can be read, in milliseconds. */
const MAX_UNCONFIRMED = 86_400_000;

/** The minimum time between two requests for an unknown key, in milliseconds. */
const MIN_REQUEST_INTERVAL = 5000;

/** The delay after a failed request, in milliseconds; doubled up to the maximum. */
const MIN_RETRY_DELAY = 250;
const MAX_RETRY_DELAY = 30_000;

const REQUEST_TIMEOUT = 10_000;
const MAX_DOCUMENT_BYTES = 256 * 1024;

export class KeyFollower {
  /** Why the last request failed. @type {unknown} */
  failure;

  #url;
  #rsa;
  #emit;
  #onChange;
  #agent;
  #closing = new AbortController();
  /** Aborted when a token names a key that the last answer lacks. */
  #missed = new AbortController();
  /** @type {string | undefined} */
  #etag;
  /** @type {KeySet | undefined} */
  #known;
  #waiting = new Waiting();

  /**
   * @param {string | URL} url
   * @param {import('./keys.js').Algorithm} rsa the algorithm of RSA keys that name none
   * @param {(event: import('./events.js').Event) => void} emit
   * @param {() => void} onChange called after `current` has changed
   * @param {import('./certificates.js').Files} [files]
   */
  constructor(url, rsa, emit, onChange, files) {
    const target = URL.canParse(String(url)) ? new URL(url) : undefined;
    if (target?.protocol !== 'http:' && target?.protocol !== 'https:') throw new UsageError('keysUrl: must be an http or https URL');
    if (target.username || target.password) throw new UsageError('keysUrl: must have no credentials');
    this.#url = target;
    this.#rsa = rsa;
    this.#emit = emit;
    this.#onChange = onChange;
    this.#agent = agentFor(target, files);
    void this.#run();
  }

  /** The keys; undefined as long as they are not known, and once closed, because nothing says then when the issuer removes one. */
  get current() {
    return this.#closing.signal.aborted ? undefined : this.#known;
  }

  /** Requests the keys again soon, because a token names an unknown one, or none and may be signed with a newer one. */
  missed() {
    this.#missed.abort();
  }

  /**
   * Resolves once the keys are known; rejects after the timeout, or when this is closed.
   * @param {number} timeout in milliseconds
   */
  async ready(timeout) {
    if (this.#closing.signal.aborted) throw closed();
    if (this.#known !== undefined) return;
    await this.#waiting.wait(timeout, () => {
      const why = this.failure instanceof Error ? `: ${this.failure.message}` : '';
      return new NodeError('ADIEU_TIMEOUT', `the keys are not known in time${why}`, { cause: this.failure });
    });
  }

  /** Stops following. The keys are not known any more. */
  close() {
    this.#closing.abort();
    this.#missed.abort();
    this.#agent.destroy();
    this.#waiting.end(closed());
    this.#onChange();
  }

  async #run() {
    let retry = MIN_RETRY_DELAY;
    let confirmedAt = performance.now();
    while (!this.#closing.signal.aborted) {
      const askedAt = performance.now();
      try {
        const age = await this.#fetch();
        if (this.failure !== undefined) {
          this.#emit({ type: 'keys_following', level: 'info', message: 'the keys of the issuer can be read again' });
        }
        this.failure = undefined;
        this.#waiting.end();
        retry = MIN_RETRY_DELAY;
        confirmedAt = askedAt;
        this.#missed = new AbortController();
        await pause(askedAt + age - performance.now(), this.#missed.signal);
        await pause(askedAt + MIN_REQUEST_INTERVAL - performance.now(), this.#closing.signal);
      } catch (error) {
        if (this.#closing.signal.aborted) return;
        if (this.failure === undefined) {
          const message = `${error instanceof Error ? error.message : error}; the keys that are known stay valid`;
          this.#emit({ type: 'keys_failing', level: 'warn', message, error });
        }
        this.failure = error;
        if (performance.now() - confirmedAt > MAX_UNCONFIRMED) {
          this.#etag = undefined;
          this.#replace(undefined);
        }
        await pause(retry, this.#closing.signal);
        retry = Math.min(retry * 2, MAX_RETRY_DELAY);
      }
    }
  }

  /** Sends one request, and returns for how many milliseconds its answer is used. */
  async #fetch() {
    const peer = `the key set at ${this.#url.href}`;
    /** @type {Record<string, string>} */
    const headers = { accept: 'application/jwk-set+json, application/json' };
    if (this.#etag !== undefined) headers['if-none-match'] = this.#etag;
    const { status, headers: said, body } = await exchange(this.#url, {
      peer,
      agent: this.#agent,
      headers,
      firstByte: REQUEST_TIMEOUT,
      maxBytes: MAX_DOCUMENT_BYTES,
      signal: this.#closing.signal,
    });
    if (status === 200) {
      let keys;
      try {
        keys = KeySet.parse(body, this.#rsa);
      } catch (cause) {
        throw new NodeError('ADIEU_ANSWER', `${peer} is not one`, { cause });
      }
      this.#replace(keys);
      this.#etag = said.etag;
    } else if (status !== 304 || this.#etag === undefined) {
      throw new NodeError('ADIEU_UNAVAILABLE', `${peer} was answered ${status}`, { nodeStatus: status });
    }
    // RFC 9111 section 5.2.2.1
    const age = /(?:^|,)\s*max-age=(\d+)/i.exec(said['cache-control'] ?? '')?.[1];
    return age === undefined ? USUAL_AGE : Math.min(Math.max(Number(age) * 1000, MIN_AGE), MAX_AGE);
  }

  /** @param {KeySet | undefined} keys */
  #replace(keys) {
    const before = this.#known;
    // A key that stays is the same object, so that the tokens verified with it are still remembered.
    this.#known = keys && new KeySet(keys.keys.map((key) => before?.keys.find((old) => old.equals(key)) ?? key));
    this.#onChange();
  }
}

function closed() {
  return new NodeError('ADIEU_CLOSED', 'the verifier has been closed');
}
