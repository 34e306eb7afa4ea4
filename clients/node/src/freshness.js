/**
 * Tracks how long ago the revocations in memory were known to be complete.
 *
 * Freshness needs a clock that advances while the machine sleeps and that cannot be set. Node has none: `performance.now()` stops during
 * suspend, and `Date.now()` can be set. A moment is therefore the reading of *both*, and the time since is the larger difference. The wall
 * clock includes sleep; if it is set back, the monotonic clock counts. If the wall clock is set forward, the memory seems older than it is
 * until the next response of the node: that can only cause rejections. One case remains: a machine that sleeps *and* whose wall clock is
 * set back by as much, within one `maxStaleness`.
 */

/**
 * A reading of both clocks in milliseconds, each with its own start.
 * @typedef {{ readonly monotonic: number, readonly wall: number }} Moment
 */

/** @typedef {() => Moment} Clock */

/** @type {Clock} */
export const clock = () => ({ monotonic: performance.now(), wall: Date.now() });

/**
 * Returns the milliseconds from one moment to another, by the clock that has advanced further.
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

  /** Returns the current moment, to be taken *before* a read is sent. */
  now() {
    return this.#clock();
  }

  /**
   * Records that the memory is complete as of `age` milliseconds before a moment. The recorded moment never goes back.
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

  /** Returns how many milliseconds ago the memory was known to be complete; infinite when it never was. */
  get staleness() {
    return this.#completeAt === undefined ? Infinity : between(this.#completeAt, this.#clock());
  }
}
