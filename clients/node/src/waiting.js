/** Callers that wait for one event. Unlike a race with its promise, a wait that took too long leaves nothing in memory. */

export class Waiting {
  /** @type {Map<{ resolve: () => void, reject: (error: Error) => void }, ReturnType<typeof setTimeout> | undefined>} */
  #callers = new Map();

  /**
   * Resolves or rejects when {@link end} is called; rejects after the timeout.
   * @param {number | undefined} timeout in milliseconds
   * @param {() => Error} tooLong returns the error after the timeout
   * @returns {Promise<void>}
   */
  wait(timeout, tooLong) {
    return new Promise((resolve, reject) => {
      const caller = { resolve, reject };
      const giveUp = () => {
        this.#callers.delete(caller);
        reject(tooLong());
      };
      this.#callers.set(caller, timeout === undefined ? undefined : setTimeout(giveUp, Math.max(timeout, 0)));
    });
  }

  /** Ends all waits, with an error if there is one. @param {Error} [error] */
  end(error) {
    for (const [{ resolve, reject }, timer] of this.#callers) {
      clearTimeout(timer);
      if (error === undefined) resolve();
      else reject(error);
    }
    this.#callers.clear();
  }
}
