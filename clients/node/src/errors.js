/**
 * The errors, each with its HTTP response: Express and Fastify apply `status` and `headers` of an error by themselves; `body` is the body
 * that an Adieu node would send.
 *
 * No message contains a secret or a token.
 */

/** @typedef {{ status: number, headers: Record<string, string>, body: Record<string, unknown> }} Refusal */

/**
 * @param {string} message
 * @returns {Refusal}
 */
const unavailable = (message) => ({
  status: 503,
  headers: { 'Retry-After': '1' },
  body: { code: 503, message, status: 'Service Unavailable' },
});

/** The base of all errors of this package. */
export class AdieuError extends Error {
  /**
   * @param {string} code the kind of error, for programs
   * @param {string} message
   * @param {Refusal} refusal
   * @param {unknown} [cause]
   */
  constructor(code, message, { status, headers, body }, cause) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.status = status;
    this.headers = headers;
    this.body = body;
  }

  get statusCode() {
    return this.status;
  }

  /** @override */
  get name() {
    return this.constructor.name;
  }
}

/** The process cannot know whether the token has been revoked, because it had no news from the node for too long. */
export class StaleError extends AdieuError {
  constructor() {
    const message = 'Whether the token has been revoked is not known just now. Try again.';
    super('ADIEU_STALE', 'the state of revocations is too old to tell', unavailable(message));
  }
}

/** The token has been revoked. */
export class RevokedError extends AdieuError {
  constructor() {
    super('ADIEU_REVOKED', 'the token has been revoked', {
      status: 401,
      headers: {
        'WWW-Authenticate': 'Bearer error="invalid_token", error_description="The token has been revoked."',
      },
      body: { description: 'The token has been revoked.', error: 'token_revoked' },
    });
  }
}

/**
 * The codes of a {@link NodeError}:
 *
 * - `ADIEU_UNREACHABLE`: no connection, or it was cut off
 * - `ADIEU_TIMEOUT`: no answer in time
 * - `ADIEU_REJECTED`: the node rejects the client, its settings or the request (400 to 499, except 408 and 429)
 * - `ADIEU_UNAVAILABLE`: the node has another status than success
 * - `ADIEU_ANSWER`: the answer is not one of a node of this version
 * - `ADIEU_UNDECIDED`: a token is used up, but the first call is not known
 * - `ADIEU_CLOSED`: the blocklist has been closed
 * @typedef {'ADIEU_UNREACHABLE' | 'ADIEU_TIMEOUT' | 'ADIEU_REJECTED' | 'ADIEU_UNAVAILABLE' | 'ADIEU_ANSWER' | 'ADIEU_UNDECIDED' | 'ADIEU_CLOSED'} NodeErrorCode
 */

/** The node could not be reached, or did not do what was requested. A logout that ends in this error may not have happened. */
export class NodeError extends AdieuError {
  /**
   * @param {NodeErrorCode} code
   * @param {string} message
   * @param {{ cause?: unknown, nodeStatus?: number }} [details]
   */
  constructor(code, message, { cause, nodeStatus } = {}) {
    super(code, message, unavailable('Temporarily unavailable. Try again.'), cause);
    /** The status of the node's response; undefined if there was none. */
    this.nodeStatus = nodeStatus;
  }

  /** Whether a retry would fail too, because of wrong settings. */
  get isPermanent() {
    return this.code === 'ADIEU_REJECTED';
  }
}

/** The claims are invalid: one has the wrong type, or `exp` is missing. A node rejects such a token. */
export class InvalidClaimsError extends TypeError {
  code = 'ADIEU_CLAIMS';
  status = 401;
  headers = { 'WWW-Authenticate': 'Bearer error="invalid_token", error_description="Signature verification failed."' };
  body = { message: 'Signature verification failed.', error: 'invalid_token' };

  get statusCode() {
    return this.status;
  }

  /** @override */
  get name() {
    return 'InvalidClaimsError';
  }
}

/** The caller's mistake: a wrong setting or argument. */
export class UsageError extends TypeError {
  code = 'ADIEU_USAGE';
}
