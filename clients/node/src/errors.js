/**
 * What goes wrong, each with the HTTP answer that it stands for: `status` and `headers` are what Express and Fastify
 * take from an error by themselves, `body` is what an Adieu node would answer.
 *
 * No message holds a secret or a token.
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

/** Every error of this package. */
export class AdieuError extends Error {
  /**
   * @param {string} code what went wrong, for programs
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

/** Nobody knows whether the token has been revoked: it is too long ago that this process has heard from the node. */
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

/** The node could not be asked, or did not do what it was asked for. A logout that ends in this one is no logout. */
export class NodeError extends AdieuError {
  /**
   * @param {string} message
   * @param {{ cause?: unknown, nodeStatus?: number }} [details]
   */
  constructor(message, { cause, nodeStatus } = {}) {
    super('ADIEU_NODE', message, unavailable('Temporarily unavailable. Try again.'), cause);
    /** What the node answered; undefined when it did not. */
    this.nodeStatus = nodeStatus;
  }

  /** Whether it will be so again next time, because something is set wrongly. */
  get isPermanent() {
    const status = this.nodeStatus;
    return status !== undefined && status >= 400 && status < 500 && status !== 408 && status !== 429;
  }
}

/** The claims are none that can be judged: one has the wrong type, or there is no `exp`. A node rejects such a token. */
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
