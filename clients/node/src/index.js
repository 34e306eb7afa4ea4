export { Blocklist } from './blocklist.js';
export { AdieuError, InvalidClaimsError, NodeError, RevokedError, StaleError, TokenError, UsageError } from './errors.js';
export { readiness } from './readiness.js';
export { tokenIdOf } from './token-id.js';
export { Verifier } from './verifier.js';

/** @typedef {import('./blocklist.js').Options} Options */
/** @typedef {import('./blocklist-base.js').Claims} Claims */
/** @typedef {import('./blocklist-base.js').RevokeOptions} RevokeOptions */
/** @typedef {import('./blocklist-base.js').Revoked} Revoked */
/** @typedef {import('./blocklist-base.js').Status} Status */
/** @typedef {import('./events.js').Event} Event */
/** @typedef {import('./errors.js').NodeErrorCode} NodeErrorCode */
/** @typedef {import('./errors.js').TokenErrorReason} TokenErrorReason */
/** @typedef {import('./verifier.js').VerifierOptions} VerifierOptions */
/** @typedef {import('./verifier.js').SharedVerifierOptions} SharedVerifierOptions */
/** @typedef {import('./verifier.js').VerifiedClaims} VerifiedClaims */
/** @typedef {import('./token-rules.js').Accepted} Accepted */
