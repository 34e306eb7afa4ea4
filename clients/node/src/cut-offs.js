/** Cut-offs, which revoke everything issued until a time, by id. The latest of several counts. */
export class CutOffs {
  /** @type {Map<string, { issuedUntil: number, lapsesAt: number }>} */
  #byId = new Map();
  /** Where the current sweep goes on. @type {IterableIterator<[string, { lapsesAt: number }]> | undefined} */
  #sweep;

  get size() {
    return this.#byId.size;
  }

  /**
   * @param {string} id
   * @param {number} issuedUntil
   * @param {number} lapsesAt
   */
  add(id, issuedUntil, lapsesAt) {
    const known = this.#byId.get(id);
    if (known === undefined) this.#byId.set(id, { issuedUntil, lapsesAt });
    else {
      known.issuedUntil = Math.max(known.issuedUntil, issuedUntil);
      known.lapsesAt = Math.max(known.lapsesAt, lapsesAt);
    }
  }

  /** Returns the last revoked `iat`; undefined if there is none. @param {string} id */
  issuedUntil(id) {
    return this.#byId.get(id)?.issuedUntil;
  }

  /**
   * Returns whether a token that was issued at a time, or at an unknown one, is revoked.
   * @param {string} id
   * @param {number | undefined} issuedAt
   */
  covers(id, issuedAt) {
    if (this.#byId.size === 0) return false;
    const issuedUntil = this.#byId.get(id)?.issuedUntil;
    // The cut-off includes its whole second.
    return issuedUntil !== undefined && (issuedAt === undefined || Math.floor(issuedAt) <= issuedUntil);
  }

  /**
   * Removes cut-offs that have lapsed, among some. Returns whether the last one has been reached; the next call begins again.
   * @param {number} until
   * @param {number} most how many to look at
   */
  sweepSome(until, most) {
    this.#sweep ??= this.#byId.entries();
    for (let seen = 0; seen < most; seen += 1) {
      const next = this.#sweep.next();
      if (next.done) {
        this.#sweep = undefined;
        return true;
      }
      const [id, { lapsesAt }] = next.value;
      if (lapsesAt <= until) this.#byId.delete(id);
    }
    return false;
  }
}
