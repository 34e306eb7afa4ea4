/**
 * How long ago the revocations known here were certainly complete.
 *
 * Freshness has to be measured with a clock that goes on while the machine sleeps and that nobody sets. Node gives none:
 * `performance.now()` stops in suspend, and `Date.now()` can be set. So a moment is what *both* show, and the time since is
 * what the one says that has gone further. Sleep shows on the wall clock, and a wall clock that is set back is outdone by
 * the other. A wall clock that is set forward makes things look older than they are, until the next answer of the node:
 * that refuses, for a moment, what might have been accepted, and never the other way round. What is left is a machine that
 * sleeps *and* whose wall clock is set back by as much, within one `maxStaleness`.
 */

/**
 * What clocks show: milliseconds, each from a start of its own.
 * @typedef {{ readonly monotonic: number, readonly wall: number }} Moment
 */

/** @typedef {() => Moment} Clock */

/** @type {Clock} */
export const clock = () => ({ monotonic: performance.now(), wall: Date.now() });

/**
 * Milliseconds from one moment to another, by the clock that has gone further.
 * @param {Moment} from
 * @param {Moment} to
 */
export function between(from, to) {
  return Math.max(to.monotonic - from.monotonic, to.wall - from.wall, 0);
}

export class Freshness {
  #clock;
  /** @type {Moment | undefined} */
  #completeAt;

  /** @param {Clock} [readClock] */
  constructor(readClock = clock) {
    this.#clock = readClock;
  }

  /** What the clocks show now: to be taken *before* a read is sent. */
  now() {
    return this.#clock();
  }

  /**
   * Records that everything that was acknowledged by so many milliseconds before a moment is known. It never makes what is
   * known look older than it was.
   * @param {Moment} moment
   * @param {number} age
   */
  completeAsOf(moment, age) {
    const found = { monotonic: moment.monotonic - age, wall: moment.wall - age };
    const now = this.#clock();
    if (this.#completeAt === undefined || between(found, now) < between(this.#completeAt, now)) {
      this.#completeAt = found;
    }
  }

  /** How many milliseconds ago everything was known; infinite when it never was. */
  get staleness() {
    return this.#completeAt === undefined ? Infinity : between(this.#completeAt, this.#clock());
  }
}
