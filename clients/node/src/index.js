export { Blocklist } from './blocklist.js';
export { tokenIdOf } from './claims.js';
export { AdieuError, InvalidClaimsError, NodeError, RevokedError, StaleError, UsageError } from './errors.js';

/** @typedef {import('./settings.js').Options} Options */
/** @typedef {import('./blocklist.js').Claims} Claims */
/** @typedef {import('./blocklist.js').RevokeOptions} RevokeOptions */
/** @typedef {import('./blocklist.js').Revoked} Revoked */
/** @typedef {import('./blocklist.js').Status} Status */
/** @typedef {import('./events.js').Event} Event */
/** @typedef {import('./errors.js').NodeErrorCode} NodeErrorCode */
