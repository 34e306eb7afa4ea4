/**
 * Keys that verify signatures. A key is for one algorithm, which is checked when the key is created, and never for what a token names: so
 * `none` does not exist, and a public key is never taken for a secret.
 */

import { createHash, createHmac, createPublicKey, createSecretKey, constants, KeyObject, timingSafeEqual, verify } from 'node:crypto';

import { UsageError } from './errors.js';

/**
 * `bytes` is the minimum length of a secret (RFC 7518 section 3.2), or the length of a signature if that is fixed.
 * @typedef {object} Properties
 * @property {'secret' | 'rsa' | 'ec' | 'ed25519'} type
 * @property {string | null} hash
 * @property {number} [bytes]
 * @property {string} [curve]
 * @property {object} [options] for the verification
 */

const P1363 = { dsaEncoding: /** @type {const} */ ('ieee-p1363') };
const PSS = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };

/** @satisfies {Record<string, Properties>} */
const ALGORITHMS = /** @type {const} */ ({
  HS256: { type: 'secret', hash: 'sha256', bytes: 32 },
  HS384: { type: 'secret', hash: 'sha384', bytes: 48 },
  HS512: { type: 'secret', hash: 'sha512', bytes: 64 },
  RS256: { type: 'rsa', hash: 'sha256' },
  RS384: { type: 'rsa', hash: 'sha384' },
  RS512: { type: 'rsa', hash: 'sha512' },
  PS256: { type: 'rsa', hash: 'sha256', options: PSS },
  PS384: { type: 'rsa', hash: 'sha384', options: PSS },
  PS512: { type: 'rsa', hash: 'sha512', options: PSS },
  ES256: { type: 'ec', hash: 'sha256', bytes: 64, curve: 'prime256v1', options: P1363 },
  ES384: { type: 'ec', hash: 'sha384', bytes: 96, curve: 'secp384r1', options: P1363 },
  EdDSA: { type: 'ed25519', hash: null, bytes: 64 },
});

/** @typedef {keyof typeof ALGORITHMS} Algorithm */

/** The algorithms that a curve determines. @type {Record<string, Algorithm>} */
const OF_CURVES = { 'P-256': 'ES256', 'P-384': 'ES384', Ed25519: 'EdDSA' };

/** The members of a private key (RFC 7518 section 6). Who publishes one has no secret any more. */
const PRIVATE = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];

const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 8192;

/** The maximum number of keys in a set, and of those that are tried for a token without `kid`. */
const MAX_KEYS = 64;
const MAX_KEYS_TRIED = 4;

/** @param {unknown} name @returns {name is Algorithm} */
export function isAlgorithm(name) {
  return typeof name === 'string' && Object.hasOwn(ALGORITHMS, name);
}

export class VerifyingKey {
  algorithm;
  /** The `kid` of its tokens, if they have one. A secret has no id, because its thumbprint would let every reader of a token guess it. */
  id;
  #object;
  /** @type {Properties} */
  #properties;
  /** @type {any} */
  #prepared;

  /**
   * @param {Algorithm} algorithm
   * @param {KeyObject} object
   * @param {string} [id] by default the thumbprint of a public key
   */
  constructor(algorithm, object, id) {
    this.#properties = ALGORITHMS[algorithm];
    requireFit(algorithm, this.#properties, object);
    this.algorithm = algorithm;
    this.id = id ?? (object.type === 'public' ? thumbprint(object) : undefined);
    this.#object = object;
    const { options } = this.#properties;
    this.#prepared = options === undefined ? object : { key: object, ...options };
  }

  /**
   * Returns whether the signature, in canonical base64url, is that of the signing input.
   * @param {string} input
   * @param {string} signature
   */
  verify(input, signature) {
    const { type, hash, bytes } = this.#properties;
    if (type === 'secret') {
      // Compared as texts, so that a tag has one spelling.
      const tag = Buffer.from(createHmac(/** @type {string} */ (hash), this.#object).update(input).digest('base64url'));
      const given = Buffer.from(signature);
      return given.length === tag.length && timingSafeEqual(given, tag);
    }
    const decoded = Buffer.from(signature, 'base64url');
    if (decoded.toString('base64url') !== signature || (bytes !== undefined && decoded.length !== bytes)) return false;
    try {
      return verify(hash, Buffer.from(input), this.#prepared, decoded);
    } catch {
      return false;
    }
  }

  /** Returns whether another key is the same. @param {VerifyingKey} other */
  equals(other) {
    return this.algorithm === other.algorithm && this.id === other.id && this.#object.equals(other.#object);
  }
}

/** The keys of one issuer. */
export class KeySet {
  /** @type {readonly VerifyingKey[]} */
  keys;

  /** @param {readonly VerifyingKey[]} keys */
  constructor(keys) {
    this.keys = keys;
  }

  /**
   * Returns the keys that may have signed a token, which are those of its algorithm; undefined if it names a key that is not in this set.
   * @param {{ algorithm: string, keyId: string | undefined }} header
   * @returns {readonly VerifyingKey[] | undefined}
   */
  candidates({ algorithm, keyId }) {
    const named = keyId === undefined ? this.keys : this.keys.filter(({ id }) => id === keyId);
    if (named.length === 0 && keyId !== undefined) return undefined;
    return named.filter((key) => key.algorithm === algorithm).slice(0, MAX_KEYS_TRIED);
  }

  /**
   * Returns the keys of an issuer's document (RFC 7517 section 5). A key that is not a public key for signatures with a known algorithm is
   * left out, and so is a second key with the same id. Throws if this is no such document.
   * @param {Buffer} document
   * @param {Algorithm} [rsa] the algorithm of RSA keys that name none
   */
  static parse(document, rsa) {
    const { keys } = JSON.parse(document.toString());
    /** @type {Map<string | undefined, VerifyingKey>} */
    const byId = new Map();
    for (const jwk of keys) {
      const key = fromJwk(jwk, rsa);
      if (key !== undefined && !byId.has(key.id)) byId.set(key.id, key);
    }
    if (byId.size > MAX_KEYS) throw new RangeError(`there are more than ${MAX_KEYS} keys`);
    return new KeySet([...byId.values()]);
  }
}

/**
 * Returns a fixed key: a secret, a public key in PEM form, or a `KeyObject`.
 * @param {string | Uint8Array | KeyObject} key
 * @param {unknown} algorithm
 */
export function fixedKey(key, algorithm) {
  if (!isAlgorithm(algorithm)) throw new UsageError(`algorithm: a key needs one of ${Object.keys(ALGORITHMS).join(', ')}`);
  if (key instanceof KeyObject) return new VerifyingKey(algorithm, key);
  if (typeof key !== 'string' && !(key instanceof Uint8Array)) throw new UsageError('key: must be a text, bytes or a KeyObject');
  const bytes = Buffer.from(key);
  if (ALGORITHMS[algorithm].type === 'secret') return new VerifyingKey(algorithm, createSecretKey(bytes));
  if (!bytes.toString('latin1').trimStart().startsWith('-----BEGIN PUBLIC KEY-----')) throw new UsageError('key: must be a public key in PEM form');
  let object;
  try {
    object = createPublicKey(bytes);
  } catch {
    throw new UsageError('key: must be a public key in PEM form');
  }
  return new VerifyingKey(algorithm, object);
}

/**
 * @param {unknown} jwk
 * @param {Algorithm | undefined} rsa
 * @returns {VerifyingKey | undefined}
 */
function fromJwk(jwk, rsa) {
  if (typeof jwk !== 'object' || jwk === null || PRIVATE.some((part) => part in jwk)) return undefined;
  const { kty, n, e, crv, x, y, alg, kid, use, key_ops } = /** @type {Record<string, any>} */ (jwk);
  const onlyFit = OF_CURVES[crv];
  const algorithm = alg === 'Ed25519' ? 'EdDSA' : (alg ?? (kty === 'RSA' ? rsa : onlyFit));
  // A member that is null counts as missing, as at a node: some issuers write all members.
  const operations = key_ops ?? ['verify'];
  const id = kid ?? undefined;
  if (!isAlgorithm(algorithm) || (use ?? 'sig') !== 'sig' || !Array.isArray(operations) || !operations.includes('verify')) return undefined;
  if (id !== undefined && (typeof id !== 'string' || id === '')) return undefined;
  try {
    const object = createPublicKey({ key: { kty, n, e, crv, x, y }, format: 'jwk' });
    return new VerifyingKey(algorithm, object, id);
  } catch {
    return undefined;
  }
}

/** Returns the thumbprint of a public key (RFC 7638). @param {KeyObject} object */
function thumbprint(object) {
  // The required members, in the order of their names.
  const { crv, e, kty, n, x, y } = object.export({ format: 'jwk' });
  return createHash('sha256').update(JSON.stringify({ crv, e, kty, n, x, y })).digest('base64url');
}

/**
 * @param {Algorithm} algorithm
 * @param {Properties} properties
 * @param {KeyObject} object
 */
function requireFit(algorithm, { type, bytes = 0, curve }, object) {
  if (type === 'secret') {
    if (object.type !== 'secret') throw new UsageError(`key: ${algorithm} needs a secret`);
    // Otherwise a public key would be taken for a secret, and who knows it could sign.
    if (/** @type {Buffer} */ (object.export()).includes('-----BEGIN ')) throw new UsageError('key: is in PEM form, so it is not a secret');
    if (/** @type {number} */ (object.symmetricKeySize) < bytes) {
      throw new UsageError(`key: a secret for ${algorithm} must have at least ${bytes} bytes`);
    }
    return;
  }
  if (object.type !== 'public' || object.asymmetricKeyType !== type) {
    throw new UsageError(`key: ${algorithm} needs a public key of its type`);
  }
  const { namedCurve, modulusLength = 0, publicExponent = 0n } = object.asymmetricKeyDetails ?? {};
  if (curve !== undefined && namedCurve !== curve) throw new UsageError(`key: must be on the curve of ${algorithm}`);
  if (type !== 'rsa') return;
  if (modulusLength < MIN_RSA_BITS || modulusLength > MAX_RSA_BITS) {
    throw new UsageError(`key: an RSA key must have between ${MIN_RSA_BITS} and ${MAX_RSA_BITS} bits`);
  }
  if (publicExponent < 3n || publicExponent % 2n === 0n) throw new UsageError('key: the exponent must be odd and at least 3');
}
