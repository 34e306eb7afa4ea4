/**
 * A set of fingerprints, each with the time at which it lapses, in 12 bytes of typed arrays and some free space.
 *
 * The table is a directory of leaves by the upper bits of `spread(low)` (extendible hashing). Adding rebuilds at most one leaf, so no step is
 * long, whatever the size of the table.
 */

import { Leaf, spread } from './leaf.js';

/** The maximum number of places of a leaf, which bounds the duration of a step: about a millisecond. */
const MAX_PLACES = 8192;

const MIN_PLACES = 16;

/** The part of the places that may be in use. */
const MAX_FILL = 0.94;

/** The factor by which a full leaf grows, until it is split. */
const GROWTH = 1.25;

/** The maximum number of bits that select a leaf. */
const MAX_DEPTH = 20;

/** The unit of the times at which fingerprints lapse, in seconds. A time of the year 9999 in this unit fits 32 bits. */
const UNIT = 64;

export class Table {
  size = 0;
  /** How many bits of `spread(low)` select the leaf. */
  #depth = 0;
  /** @type {Leaf[]} */
  #leaves = [new Leaf(MIN_PLACES, 0)];
  /** Where the current sweep goes on. */
  #sweptUntil = 0;

  /** Returns whether there is a fingerprint with this half. @param {number} low */
  hasLow(low) {
    return this.#leaves[this.#indexOf(low)].find(low) >= 0;
  }

  /** @param {number} low @param {number} high */
  has(low, high) {
    return this.#leaves[this.#indexOf(low)].has(low, high);
  }

  /**
   * Adds a fingerprint. If it is known, the later of the two times counts.
   * @param {number} low not 0
   * @param {number} high
   * @param {number} lapsesAt in seconds; rounded up to a {@link UNIT}
   */
  add(low, high, lapsesAt) {
    const lapse = Math.ceil(lapsesAt / UNIT);
    for (;;) {
      const index = this.#indexOf(low);
      const leaf = this.#leaves[index];
      const isFull = leaf.count >= leaf.places * MAX_FILL;
      const added = isFull && !leaf.has(low, high) ? undefined : leaf.add(low, high, lapse);
      if (added === undefined) this.#grow(index);
      else {
        if (added) this.size += 1;
        return;
      }
    }
  }

  /**
   * Removes the fingerprints of one leaf that have lapsed. Returns whether the last leaf has been reached; the next call begins again.
   * @param {number} until in seconds
   */
  sweepSome(until) {
    const leaf = this.#leaves[this.#sweptUntil];
    const lapsed = Math.floor(until / UNIT);
    const left = leaf.countAfter(lapsed);
    if (left < leaf.count) {
      this.size -= leaf.count - left;
      const places = Math.max(MIN_PLACES, Math.ceil((left / MAX_FILL) * GROWTH));
      this.#replace(this.#sweptUntil, [leaf.copy(places, leaf.depth, lapsed)]);
    }
    // If the directory has doubled in the meantime, some leaves are swept again.
    this.#sweptUntil += 1 << (this.#depth - leaf.depth);
    if (this.#sweptUntil < this.#leaves.length) return false;
    this.#sweptUntil = 0;
    return true;
  }

  /** The number of bytes of the typed arrays. */
  get bytes() {
    return [...new Set(this.#leaves)].reduce((sum, leaf) => sum + leaf.bytes, 0);
  }

  /** @param {number} low */
  #indexOf(low) {
    // A shift by 32 would be one by 0.
    return this.#depth === 0 ? 0 : spread(low) >>> (32 - this.#depth);
  }

  /** Enlarges or splits a leaf. @param {number} index */
  #grow(index) {
    const leaf = this.#leaves[index];
    const places = Math.ceil(leaf.places * GROWTH);
    // Deeper leaves than this take more fingerprints than memory has room for.
    if (places <= MAX_PLACES || leaf.depth >= MAX_DEPTH) {
      this.#replace(index, [leaf.copy(places, leaf.depth)]);
      return;
    }
    if (leaf.depth === this.#depth) {
      this.#leaves = this.#leaves.flatMap((each) => [each, each]);
      this.#depth += 1;
      this.#sweptUntil *= 2;
      index *= 2;
    }
    const depth = leaf.depth + 1;
    const half = Math.ceil((leaf.count / 2 / MAX_FILL) * GROWTH);
    this.#replace(index, [leaf.copy(half, depth, -1, depth, 0), leaf.copy(half, depth, -1, depth, 1)]);
  }

  /**
   * Puts one leaf, or two halves, where a leaf was.
   * @param {number} index one of those of the leaf
   * @param {[Leaf] | [Leaf, Leaf]} by
   */
  #replace(index, by) {
    const span = 1 << (this.#depth - this.#leaves[index].depth);
    const first = index - (index % span);
    const [left, right = left] = by;
    for (let at = 0; at < span; at += 1) this.#leaves[first + at] = at < span / 2 ? left : right;
  }
}
