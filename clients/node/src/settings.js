/** Checks the settings of a blocklist. */

import { UsageError } from './errors.js';

/** The URL of a blocklist without a server. */
export const IN_MEMORY = 'memory:';

/**
 * @typedef {object} Options
 * @property {string | URL} [url] the address of the Adieu node; by default `ADIEU_URL`. With `memory:`, there is no server: see
 *   {@link import('./blocklist.js').Blocklist.inMemory}
 * @property {string} [clientId] the name passed to `adieu client add`; by default `ADIEU_CLIENT`
 * @property {string} [secret] the secret that it printed; by default `ADIEU_SECRET`, or the content of the file that `ADIEU_SECRET_FILE`
 *   names. A byte order mark and a line ending, as files have them, are removed
 * @property {number} [maxStaleness] the bound in milliseconds: no token is accepted later than this after its logout was answered; 2000
 *   by default, at most the node's own bound
 * @property {'reject' | 'accept'} [stalePolicy] the behaviour past the bound: `reject` (a {@link import('./errors.js').StaleError}), the
 *   default, or `accept` every token that is not known to be revoked
 * @property {number} [staleTimeout] how many milliseconds `fresh()`, express-jwt and `@fastify/jwt` wait for news if the memory is stale; 0,
 *   the default, never waits. For processes that are frozen between requests, as on serverless platforms
 * @property {string} [issuer] the issuer of tokens without `iss`; the node's own by default
 * @property {string} [subjectClaim] the claim that names the user; `sub` by default. The `subject_claim` of the issuer at the node should be
 *   the same
 * @property {number} [lifetime] the maximum lifetime of the application's tokens in milliseconds: how long the end of one of its own
 *   sessions is kept; by default as long as any token of the node
 * @property {boolean} [unref] whether the process may exit while the follower runs; true by default. Waiting for `ready()`, `fresh()` or
 *   a `revoke…()` keeps the process alive
 * @property {(event: import('./events.js').Event) => void} [onEvent] a callback for events; by default writes warnings and errors to
 *   the console
 */

/** The maximum of `maxStaleness`, in milliseconds. */
export const MAX_STALENESS = 86_400_000;

/** The maximum of `staleTimeout`, in milliseconds. */
const MAX_STALE_TIMEOUT = 60_000;

/**
 * Returns a setting that was not given; undefined if the runtime has no other source of settings.
 * @typedef {(name: 'url' | 'clientId' | 'secret') => string | undefined} Fallback
 */

/**
 * Returns the settings with their defaults.
 * @param {Options} options
 * @param {Fallback} fallback
 * @throws {UsageError} when one is missing or invalid
 */
export function settingsOf(options, fallback) {
  const { maxStaleness = 2000, stalePolicy = 'reject', staleTimeout = 0, issuer, subjectClaim = 'sub', lifetime } = options;
  const { unref = true, onEvent } = options;
  const url = options.url ?? fallback('url');
  if (url === undefined) throw new UsageError('url: must be given');
  const { clientId, secret } = url === IN_MEMORY ? { clientId: '', secret: '' } : credentialsOf(options, fallback);
  if (lifetime !== undefined && !(Number.isFinite(lifetime) && lifetime > 0)) {
    throw new UsageError('lifetime: must be a number of milliseconds');
  }
  if (!Number.isInteger(maxStaleness) || maxStaleness < 50 || maxStaleness > MAX_STALENESS) {
    throw new UsageError(`maxStaleness: must be a whole number of milliseconds between 50 and ${MAX_STALENESS}`);
  }
  if (stalePolicy !== 'reject' && stalePolicy !== 'accept') throw new UsageError('stalePolicy: must be "reject" or "accept"');
  if (!Number.isInteger(staleTimeout) || staleTimeout < 0 || staleTimeout > MAX_STALE_TIMEOUT) {
    throw new UsageError(`staleTimeout: must be a whole number of milliseconds between 0 and ${MAX_STALE_TIMEOUT}`);
  }
  if (issuer !== undefined && (typeof issuer !== 'string' || !issuer)) throw new UsageError('issuer: must be a text');
  if (typeof subjectClaim !== 'string' || !subjectClaim) throw new UsageError('subjectClaim: must be the name of a claim');
  return { url, clientId, secret, maxStaleness, stalePolicy, staleTimeout, issuer, subjectClaim, lifetime, unref, onEvent };
}

/** @param {Options} options @param {Fallback} fallback */
function credentialsOf(options, fallback) {
  const clientId = options.clientId ?? fallback('clientId');
  if (typeof clientId !== 'string' || !clientId || clientId.includes(':')) {
    throw new UsageError('clientId: must be the name of a client');
  }
  const written = options.secret ?? fallback('secret');
  // A file may have a byte order mark before the secret, and a line ending after it.
  const secret = typeof written === 'string' && written.replace(/^\uFEFF|[\r\n]+$/g, '');
  if (!secret) throw new UsageError('secret: must be the secret of the client');
  return { clientId, secret };
}
