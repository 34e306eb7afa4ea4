import { createHash } from 'node:crypto';

import { signingInput } from './claims.js';

/**
 * Returns the id of a token without `jti`: the SHA-256 of its signing input.
 * @param {string} token
 */
export function tokenIdOf(token) {
  return createHash('sha256').update(signingInput(token)).digest('base64url');
}
