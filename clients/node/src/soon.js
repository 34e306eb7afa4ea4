/** Lets other tasks go on. Not every runtime has `setImmediate`. */

/** Calls back in a turn of its own. @type {(callback: () => void) => unknown} */
export const soon = globalThis.setImmediate ?? ((callback) => setTimeout(callback, 0));

/** Resolves in a turn of its own. @returns {Promise<void>} */
export function breathe() {
  return new Promise((resolve) => void soon(resolve));
}
