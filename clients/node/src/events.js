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
  return (event) => {
    try {
      onEvent(event);
    } catch (error) {
      // An error of the callback must not stop the follower.
      console.error('adieu: onEvent failed:', error);
    }
  };
}

/** @param {Event} event */
function tellConsole({ level, message }) {
  if (level !== 'info') console[level](`adieu: ${message}`);
}
