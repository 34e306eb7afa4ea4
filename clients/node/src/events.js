/** Events, for a log. */

/**
 * @typedef {object} Event
 * @property {'ready' | 'failing' | 'following' | 'log_changed' | 'stale' | 'fresh' | 'clock_behind' | 'callback_failed' | 'keys_failing' | 'keys_following'} type
 * @property {'info' | 'warn' | 'error'} level
 * @property {string} message
 * @property {unknown} [error]
 */

/**
 * Returns a function that passes events to a callback, and never throws. Without a callback, warnings and errors go to the console.
 * @param {((event: Event) => void) | undefined} onEvent
 * @returns {(event: Event) => void}
 */
export function emitter(onEvent = tellConsole) {
  const call = async (/** @type {Event} */ event) => onEvent(event);
  return (event) => {
    // An error of the callback, which may be a rejection, must stop neither the follower nor the process.
    call(event).catch((error) => console.error('adieu: onEvent failed:', error));
  };
}

/** @param {Event} event */
function tellConsole({ level, message }) {
  if (level !== 'info') console[level](`adieu: ${message}`);
}
