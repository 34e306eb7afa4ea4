/**
 * A part of a table: open addressing with linear probing.
 *
 * The place where a fingerprint belongs grows with its `low`, and neighbours are sorted by it. A look-up of what is missing therefore ends as
 * early as one of what is there. Nothing wraps around: there are some places more at the end, of which the last one stays empty.
 */

/** The number of places at the end. */
const EXTRA = 96;

export class Leaf {
  count = 0;
  /** The places where fingerprints may belong. */
  places;
  /** How many bits of `high` all fingerprints of this leaf have in common. */
  depth;

  /** `low` and `high` side by side; a `low` of 0 is an empty place. */
  #words;
  #lapses;
  #scale;

  /**
   * @param {number} places
   * @param {number} depth
   */
  constructor(places, depth) {
    this.places = places;
    this.depth = depth;
    this.#scale = places / 2 ** 32;
    this.#words = new Int32Array(2 * (places + EXTRA));
    this.#lapses = new Uint32Array(places + EXTRA);
  }

  get bytes() {
    return this.#words.byteLength + this.#lapses.byteLength;
  }

  /** @param {number} low @param {number} high */
  has(low, high) {
    const words = this.#words;
    let at = Math.floor((low + 2 ** 31) * this.#scale) * 2;
    for (;;) {
      const found = words[at];
      if (found === low) {
        if (words[at + 1] === high) return true;
      } else if (found > low || found === 0) return false;
      at += 2;
    }
  }

  /**
   * Returns whether the fingerprint is new; undefined if there is no room at the end, and nothing was added. If the fingerprint is known,
   * the later lapse counts.
   * @param {number} low
   * @param {number} high
   * @param {number} lapse
   */
  add(low, high, lapse) {
    const words = this.#words;
    const lapses = this.#lapses;
    let at = Math.floor((low + 2 ** 31) * this.#scale) * 2;
    for (;;) {
      const found = words[at];
      if (found === 0 || found > low) break;
      if (found === low && words[at + 1] === high) {
        if (lapse > lapses[at / 2]) lapses[at / 2] = lapse;
        return false;
      }
      at += 2;
    }
    let free = at;
    while (words[free] !== 0) free += 2;
    if (free >= words.length - 2) return undefined;
    for (let to = free; to > at; to -= 2) {
      words[to] = words[to - 2];
      words[to + 1] = words[to - 1];
      lapses[to / 2] = lapses[to / 2 - 1];
    }
    words[at] = low;
    words[at + 1] = high;
    lapses[at / 2] = lapse;
    this.count += 1;
    return true;
  }

  /** Returns how many fingerprints lapse after a time. @param {number} lapse */
  countAfter(lapse) {
    const words = this.#words;
    let count = 0;
    for (let at = 0; at < words.length; at += 2) if (words[at] !== 0 && this.#lapses[at / 2] > lapse) count += 1;
    return count;
  }

  /**
   * Returns a leaf with those fingerprints that lapse after a time and that a filter accepts.
   * @param {number} places at least
   * @param {number} depth
   * @param {number} [after]
   * @param {number} [bit] of `high`, from the top: the filter, together with `value`
   * @param {number} [value] 0 or 1
   */
  copy(places, depth, after = -1, bit = 0, value = 0) {
    const words = this.#words;
    const lapses = this.#lapses;
    // With more places there is always room, in the end.
    for (let size = places; ; size = Math.ceil(size * 1.5)) {
      const to = new Leaf(size, depth);
      let isWhole = true;
      for (let at = 0; at < words.length && isWhole; at += 2) {
        const high = words[at + 1];
        if (words[at] === 0 || lapses[at / 2] <= after) continue;
        if (bit > 0 && ((high >>> (32 - bit)) & 1) !== value) continue;
        isWhole = to.add(words[at], high, lapses[at / 2]) !== undefined;
      }
      if (isWhole) return to;
    }
  }
}
