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

/**
 * @param {Record<string, unknown>} body
 * @param {string} [description] of the challenge; without, the request had no token
 * @returns {Refusal}
 */
const unauthorized = (body, description) => {
  const error = description === undefined ? '' : ` error="invalid_token", error_description="${description}"`;
  return { status: 401, headers: { 'WWW-Authenticate': `Bearer${error}` }, body };
};

/**
 * The reasons of a {@link TokenError}: there is no token; its `exp` has been reached; its `nbf` or `iat` is in the future; or anything else,
 * such as a wrong signature.
 * @typedef {'authorization_required' | 'token_expired' | 'token_not_yet_valid' | 'invalid_token'} TokenErrorReason
 */

/** The responses of a node. @type {Record<TokenErrorReason, Refusal>} */
export const TOKEN_REFUSALS = {
  authorization_required: unauthorized({
    description: 'Request does not contain an access token.',
    error: 'authorization_required',
  }),
  token_expired: unauthorized({ message: 'The token has expired.', error: 'token_expired' }, 'The token has expired.'),
  token_not_yet_valid: unauthorized(
    { message: 'The token is not valid yet.', error: 'token_not_yet_valid' },
    'The token is not valid yet.',
  ),
  // The response does not reveal the reason.
  invalid_token: unauthorized(
    { message: 'Signature verification failed.', error: 'invalid_token' },
    'Signature verification failed.',
  ),
};

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

/**
 * The process cannot know whether the token has been revoked, because it had no news from the node for too long, or whether it is authentic,
 * because the keys of the issuer are not known.
 */
export class StaleError extends AdieuError {
  /** @param {string} [message] */
  constructor(message = 'the state of revocations is too old to tell') {
    super('ADIEU_STALE', message, unavailable('Whether the token has been revoked is not known just now. Try again.'));
  }
}

/** The token has been revoked. */
export class RevokedError extends AdieuError {
  constructor() {
    const description = 'The token has been revoked.';
    super('ADIEU_REVOKED', 'the token has been revoked', unauthorized({ description, error: 'token_revoked' }, description));
  }
}

/** The token is missing, malformed, not authentic, or not within its validity period. */
export class TokenError extends AdieuError {
  /**
   * @param {TokenErrorReason} reason
   * @param {string} message
   */
  constructor(reason, message) {
    super('ADIEU_TOKEN', message, TOKEN_REFUSALS[reason]);
    /** The code that a node would answer, for programs. */
    this.reason = reason;
  }
}

/**
 * The codes of a {@link NodeError}:
 *
 * - `ADIEU_UNREACHABLE`: no connection, or it was cut off
 * - `ADIEU_TIMEOUT`: no answer in time
 * - `ADIEU_REJECTED`: the node rejects the client, its settings or the request (400, 401, 403 and 422)
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
  status = TOKEN_REFUSALS.invalid_token.status;
  headers = TOKEN_REFUSALS.invalid_token.headers;
  body = TOKEN_REFUSALS.invalid_token.body;

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
