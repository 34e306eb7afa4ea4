/** The header of a token (RFC 7515 section 4): which key may have signed it, and what kind of token it is. */

import { malformed, readObject } from './encoded-object.js';
import { TokenError } from './errors.js';
import { lower } from './kind.js';

/** The kinds of a token. @typedef {'access' | 'refresh'} Kind */

/**
 * `kind` is undefined if `typ` is missing or `JWT`, which could be anything, and `other` if it names another kind than these.
 * @typedef {{ algorithm: string, keyId: string | undefined, kind: Kind | 'other' | undefined }} Header
 */

/** No key has a longer id. */
const MAX_KEY_ID_BYTES = 256;

/** Parameters that must be a text. */
const TEXTS = ['cty', 'jku', 'nonce', 'url', 'x5t', 'x5t#S256', 'x5u'];

/**
 * @param {string} encoded
 * @returns {Header}
 * @throws {TokenError}
 */
export function readHeader(encoded) {
  const { value: header } = readObject(encoded, 'header');
  if ('crit' in header || 'b64' in header) {
    throw new TokenError('invalid_token', 'the token requires an extension that is not supported');
  }
  if ('jwk' in header) throw malformed('the header brings its own key');
  if ('enc' in header || 'zip' in header) throw malformed('the header is that of an encrypted token');
  const { alg, kid, typ, x5c } = header;
  const areTexts = TEXTS.every((name) => !(name in header) || typeof header[name] === 'string');
  if (!areTexts || (x5c !== undefined && !(Array.isArray(x5c) && x5c.every((one) => typeof one === 'string')))) {
    throw malformed('a header parameter has the wrong type');
  }
  if (typeof alg !== 'string') throw malformed('the header names no algorithm');
  if (kid !== undefined && typeof kid !== 'string') throw malformed('a header parameter has the wrong type');
  if (kid !== undefined && Buffer.byteLength(kid) > MAX_KEY_ID_BYTES) throw unknownKey();
  // RFC 9864 gives EdDSA with this curve another name.
  return { algorithm: alg === 'Ed25519' ? 'EdDSA' : alg, keyId: kid, kind: kindOf(typ) };
}

export function unknownKey() {
  return new TokenError('invalid_token', 'the token names an unknown key');
}

/** @param {unknown} typ @returns {Kind | 'other' | undefined} */
function kindOf(typ) {
  if (typ === undefined) return undefined;
  if (typeof typ !== 'string') throw malformed('a header parameter has the wrong type');
  // A media type (RFC 7515 section 4.1.9).
  switch (lower(typ).replace(/^application\//, '')) {
    case 'at+jwt':
      return 'access';
    case 'rt+jwt':
      return 'refresh';
    case 'jwt':
      return undefined;
    default:
      return 'other';
  }
}
