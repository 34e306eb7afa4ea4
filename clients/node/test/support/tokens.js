/** Signs tokens by hand, because a library would refuse many of those that a test needs. */

import { constants, createHmac, generateKeyPairSync, randomUUID, sign } from 'node:crypto';

/** @typedef {import('node:crypto').KeyObject} KeyObject */

/** @typedef {{ algorithm: string, sign: (input: Buffer) => Buffer, public: string | KeyObject }} Signer `public`: the key that verifies */

/** A secret, long enough for any HMAC. */
export const SECRET = 'correct horse battery staple, and more than sixty-four bytes of it';

/** @param {'HS256' | 'HS384' | 'HS512'} [algorithm] @param {string} [secret] @returns {Signer} */
export function hmac(algorithm = 'HS256', secret = SECRET) {
  const hash = algorithm.replace('HS', 'sha');
  return { algorithm, sign: (input) => createHmac(hash, secret).update(input).digest(), public: secret };
}

/** Creates a key pair. @param {string} algorithm @returns {Signer & { public: KeyObject }} */
export function keyPair(algorithm) {
  const hash = algorithm === 'EdDSA' ? null : `sha${algorithm.slice(2)}`;
  const curve = { ES256: 'P-256', ES384: 'P-384' }[algorithm];
  const { privateKey, publicKey } = curve
    ? generateKeyPairSync('ec', { namedCurve: curve })
    : algorithm === 'EdDSA'
      ? generateKeyPairSync('ed25519')
      : generateKeyPairSync('rsa', { modulusLength: 2048 });
  /** @type {import('node:crypto').SignKeyObjectInput} */
  const key = { key: privateKey, dsaEncoding: 'ieee-p1363' };
  if (algorithm.startsWith('PS')) Object.assign(key, { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST });
  return { algorithm, sign: (input) => sign(hash, input, key), public: publicKey };
}

/**
 * Returns a token. A header or payload that is a text or bytes is taken as it is.
 * @param {Signer} signer
 * @param {object | string | Buffer} header with the algorithm of the signer, unless it has another one
 * @param {object | string | Buffer} payload
 */
export function token(signer, header, payload) {
  const object = typeof header === 'string' || Buffer.isBuffer(header) ? header : { alg: signer.algorithm, ...header };
  return signedText(signer, `${encoded(object)}.${encoded(payload)}`);
}

/** Returns a token with a signing input that is taken as it is. @param {Signer} signer @param {string} input */
export function signedText(signer, input) {
  return `${input}.${signer.sign(Buffer.from(input)).toString('base64url')}`;
}

/** @param {object | string | Buffer} part */
export function encoded(part) {
  const bytes = typeof part === 'string' || Buffer.isBuffer(part) ? Buffer.from(part) : Buffer.from(JSON.stringify(part));
  return bytes.toString('base64url');
}

/** Returns claims that are good, except those that are given. @param {Record<string, unknown>} [claims] */
export function claims(claims) {
  const now = Math.floor(Date.now() / 1000);
  return { iss: 'shop', sub: 'jose', jti: randomUUID(), iat: now, exp: now + 300, ...claims };
}

/** The header of an access token. */
export const ACCESS = { typ: 'at+jwt' };
