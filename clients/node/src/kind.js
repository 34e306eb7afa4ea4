/**
 * What kind of token it is, by all that says so: the header's `typ`, and the claims that issuers use for it.
 *
 * A refresh token or an identity token is signed with the same key as an access token, so a good signature is not enough.
 */

/** What is accepted unless set otherwise. */
export const ACCESS = ['access'];

/** Of Flask-JWT-Extended and Adieu, of simplejwt, of Cognito, and of Keycloak. */
const CLAIMS = ['type', 'token_type', 'token_use', 'typ'];

/** @type {Map<unknown, string | undefined>} */
const OTHER_NAMES = new Map([
  ['access_token', 'access'],
  ['at+jwt', 'access'],
  ['refresh_token', 'refresh'],
  // These say how a token is sent and how it is written, and nothing of what it is for.
  ['bearer', undefined],
  ['jwt', undefined],
]);

/**
 * The kinds that are let in, if they are a list of names and not one name.
 * @param {readonly string[]} types
 */
export function checked(types) {
  if (!Array.isArray(types)) throw new TypeError("types: must be a list of names, such as ['access']");
  return types.map(lower);
}

/**
 * Whether header and claims together name one kind of token, which is one of these. A token that names none is taken for an access
 * token. The names are compared without regard to case.
 * @param {readonly string[]} types
 * @param {unknown} header
 * @param {unknown} claims
 */
export function isOneOf(types, header, claims) {
  /** @type {Set<string>} */
  const named = new Set();
  const add = (/** @type {unknown} */ name) => {
    const kind = kindOf(name);
    if (kind !== undefined) named.add(kind);
  };
  if (typeof header === 'object' && header !== null && 'typ' in header) {
    // A media type (RFC 7515 section 4.1.9).
    add(typeof header.typ === 'string' ? header.typ.replace(/^application\//i, '') : header.typ);
  }
  if (typeof claims === 'object' && claims !== null) {
    const values = /** @type {Record<string, unknown>} */ (claims);
    for (const claim of CLAIMS) if (Object.hasOwn(values, claim)) add(values[claim]);
  }
  if (named.size === 0) return types.includes('access');
  return named.size === 1 && [...named].every((kind) => types.includes(kind));
}

/**
 * The header of a token; nothing when there is none to be read.
 * @param {string | undefined} token
 * @returns {unknown}
 */
export function headerOf(token) {
  try {
    return JSON.parse(Buffer.from(/** @type {string} */ (token?.split('.')[0]), 'base64url').toString());
  } catch {
    return undefined;
  }
}

/** @param {unknown} name */
function kindOf(name) {
  // Of a wrong type, which is no kind that anybody accepts.
  if (typeof name !== 'string') return '';
  const word = lower(name);
  return OTHER_NAMES.has(word) ? OTHER_NAMES.get(word) : word;
}

/**
 * ASCII alone, as the node compares: beyond it, other letters have the same ones in lower case.
 * @param {string} name
 */
function lower(name) {
  return name.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}
