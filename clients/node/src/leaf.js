/**
 * A part of a table: open addressing with linear probing.
 *
 * The place where a fingerprint belongs grows with its `low`, and neighbours are sorted by it. A look-up of what is missing therefore ends as
 * early as one of what is there. Nothing wraps around: there are some places more at the end, of which the last one stays empty.
 */

/** The number of places at the end. */
const EXTRA = 96;

/** The words of a place: `low`, which is 0 in an empty place, `high`, and when it lapses. */
const STRIDE = 3;

export class Leaf {
  count = 0;
  /** The places where fingerprints may belong. */
  places;
  /** How many bits of `spread(low)` all fingerprints of this leaf have in common. */
  depth;

  #words;
  #scale;

  /**
   * @param {number} places
   * @param {number} depth
   */
  constructor(places, depth) {
    this.places = places;
    this.depth = depth;
    this.#scale = places / 2 ** 32;
    this.#words = new Int32Array(STRIDE * (places + EXTRA));
  }

  get bytes() {
    return this.#words.byteLength;
  }

  /** Returns where the first fingerprint with this half is; -1 if there is none. @param {number} low */
  find(low) {
    const words = this.#words;
    for (let at = this.#placeOf(low); ; at += STRIDE) {
      const found = words[at];
      if (found === low) return at;
      if (found > low || found === 0) return -1;
    }
  }

  /** @param {number} low @param {number} high */
  has(low, high) {
    const words = this.#words;
    let at = this.find(low);
    while (at >= 0 && words[at] === low && words[at + 1] !== high) at += STRIDE;
    return at >= 0 && words[at] === low;
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
    let at = this.#placeOf(low);
    for (;;) {
      const found = words[at];
      if (found === 0 || found > low) break;
      if (found === low && words[at + 1] === high) {
        if (lapse > words[at + 2] >>> 0) words[at + 2] = lapse;
        return false;
      }
      at += STRIDE;
    }
    let free = at;
    while (words[free] !== 0) free += STRIDE;
    if (free >= words.length - STRIDE) return undefined;
    words.copyWithin(at + STRIDE, at, free);
    words[at] = low;
    words[at + 1] = high;
    words[at + 2] = lapse;
    this.count += 1;
    return true;
  }

  /** Returns how many fingerprints lapse after a time. @param {number} lapse */
  countAfter(lapse) {
    const words = this.#words;
    let count = 0;
    for (let at = 0; at < words.length; at += STRIDE) if (words[at] !== 0 && words[at + 2] >>> 0 > lapse) count += 1;
    return count;
  }

  /**
   * Returns a leaf with those fingerprints that lapse after a time and that a filter accepts.
   * @param {number} places at least
   * @param {number} depth
   * @param {number} [after]
   * @param {number} [bit] of `spread(low)`, from the top: the filter, together with `value`
   * @param {number} [value] 0 or 1
   */
  copy(places, depth, after = -1, bit = 0, value = 0) {
    // With more places there is always room, in the end.
    for (let size = places; ; size = Math.ceil(size * 1.5)) {
      const to = new Leaf(size, depth);
      if (to.#take(this.#words, after, bit, value)) return to;
    }
  }

  /**
   * Takes what {@link copy} selects into this empty leaf, in order: each goes where it belongs, or behind the one before. Returns whether
   * there was room.
   * @param {Int32Array} from @param {number} after @param {number} bit @param {number} value
   */
  #take(from, after, bit, value) {
    const words = this.#words;
    let free = 0;
    for (let at = 0; at < from.length; at += STRIDE) {
      const low = from[at];
      if (low === 0 || from[at + 2] >>> 0 <= after) continue;
      if (bit > 0 && ((spread(low) >>> (32 - bit)) & 1) !== value) continue;
      free = Math.max(free, this.#placeOf(low));
      if (free >= words.length - STRIDE) return false;
      words[free] = low;
      words[free + 1] = from[at + 1];
      words[free + 2] = from[at + 2];
      free += STRIDE;
      this.count += 1;
    }
    return true;
  }

  /** Returns where a fingerprint belongs. @param {number} low */
  #placeOf(low) {
    return Math.floor((low + 2 ** 31) * this.#scale) * STRIDE;
  }
}

/** Returns the bits that select the leaf, which neighbours do not have in common. @param {number} low */
export function spread(low) {
  return Math.imul(low, 0x9e3779b1);
}
