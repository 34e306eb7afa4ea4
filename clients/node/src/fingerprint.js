/**
 * Fingerprints of ids: 64 bits, under a random key.
 *
 * A text is the sequence of its UTF-16 units w_1 … w_n, followed by a unit of 1. Each of four lanes is the multilinear sum
 * start + Σ m_i · w_i modulo 2³² with random 32-bit multipliers of its own, of which the upper 16 bits are kept. This family is strongly
 * universal (Lemire and Kaser, "Strongly universal string hashing is fast", 2014, theorem 3.1: with words of 16 bits, the upper 17 of 32
 * bits), also for texts of different lengths, because the last unit is never 0. Two different ids of at most 512 units therefore have the same
 * fingerprint with a probability of 2⁻⁶⁴, whoever chose them, as long as the choice does not depend on the key. An id is wrongly found among
 * n others with a probability of at most n · 2⁻⁶⁴, and twice that because 0 becomes 1: below 10⁻¹² for n up to 9 million, and
 * 1.1 · 10⁻¹³ for a million.
 *
 * The proof needs the key to be secret: nothing may reveal fingerprints, or the order in which they are kept.
 */

/** The maximum number of UTF-16 units of an id: no id has more than 512 bytes of UTF-8. */
const MAX_UNITS = 512;

const LANES = 4;

/** The number of 16-bit words in a UUID. */
const UUID_WORDS = 8;

/** The values of hexadecimal digits in lower case; any other unit has a value that no word of 16 bits contains. */
const DIGITS = new Int32Array(65_536).fill(1 << 16);
for (const [value, digit] of [...'0123456789abcdef'].entries()) DIGITS[digit.charCodeAt(0)] = value;

const HYPHEN = 45;

export class Fingerprint {
  /** The two halves of the last fingerprint. `low` is never 0. */
  low = 0;
  high = 0;

  // UUIDs have multipliers of their own, so that the short form of a UUID cannot have the sum of another text.
  #ofUuids = crypto.getRandomValues(new Int32Array(LANES * (UUID_WORDS + 1)));
  #ofTexts = crypto.getRandomValues(new Int32Array(LANES * (MAX_UNITS + 1)));
  #start = crypto.getRandomValues(new Int32Array(LANES));

  /**
   * Takes the fingerprint of an id. A UUID in lower case with hyphens has the same one as its 16 bytes.
   * @param {string} id
   */
  ofText(id) {
    if (id.length === 36 && this.#ofUuidText(id)) return;
    const length = id.length;
    // More units than multipliers: such an id has no revocation, and the caller rejects it before.
    if (length > MAX_UNITS) throw new RangeError('the id is too long');
    const m = this.#ofTexts;
    const start = this.#start;
    let a = start[0] | 0;
    let b = start[1] | 0;
    let c = start[2] | 0;
    let d = start[3] | 0;
    let at = 0;
    for (let index = 0; index < length; index += 1, at += LANES) {
      const unit = id.charCodeAt(index);
      a = (a + Math.imul(m[at], unit)) | 0;
      b = (b + Math.imul(m[at + 1], unit)) | 0;
      c = (c + Math.imul(m[at + 2], unit)) | 0;
      d = (d + Math.imul(m[at + 3], unit)) | 0;
    }
    this.#finish((a + m[at]) | 0, (b + m[at + 1]) | 0, (c + m[at + 2]) | 0, (d + m[at + 3]) | 0);
  }

  /**
   * Takes the fingerprint of a UUID, from its 16 bytes.
   * @param {Uint8Array} bytes
   * @param {number} at
   */
  ofUuid(bytes, at) {
    this.#ofWords(
      (bytes[at] << 8) | bytes[at + 1],
      (bytes[at + 2] << 8) | bytes[at + 3],
      (bytes[at + 4] << 8) | bytes[at + 5],
      (bytes[at + 6] << 8) | bytes[at + 7],
      (bytes[at + 8] << 8) | bytes[at + 9],
      (bytes[at + 10] << 8) | bytes[at + 11],
      (bytes[at + 12] << 8) | bytes[at + 13],
      (bytes[at + 14] << 8) | bytes[at + 15],
    );
  }

  /** Returns whether a text of 36 units is a UUID in lower case with hyphens. @param {string} id */
  #ofUuidText(id) {
    if (id.charCodeAt(8) !== HYPHEN || id.charCodeAt(13) !== HYPHEN) return false;
    if (id.charCodeAt(18) !== HYPHEN || id.charCodeAt(23) !== HYPHEN) return false;
    const w0 = word(id, 0);
    const w1 = word(id, 4);
    const w2 = word(id, 9);
    const w3 = word(id, 14);
    const w4 = word(id, 19);
    const w5 = word(id, 24);
    const w6 = word(id, 28);
    const w7 = word(id, 32);
    if ((w0 | w1 | w2 | w3 | w4 | w5 | w6 | w7) >>> 16 !== 0) return false;
    this.#ofWords(w0, w1, w2, w3, w4, w5, w6, w7);
    return true;
  }

  /**
   * @param {number} w0 @param {number} w1 @param {number} w2 @param {number} w3
   * @param {number} w4 @param {number} w5 @param {number} w6 @param {number} w7
   */
  #ofWords(w0, w1, w2, w3, w4, w5, w6, w7) {
    const m = this.#ofUuids;
    const start = this.#start;
    this.#finish(
      uuidLane(m, start, 0, w0, w1, w2, w3, w4, w5, w6, w7),
      uuidLane(m, start, 1, w0, w1, w2, w3, w4, w5, w6, w7),
      uuidLane(m, start, 2, w0, w1, w2, w3, w4, w5, w6, w7),
      uuidLane(m, start, 3, w0, w1, w2, w3, w4, w5, w6, w7),
    );
  }

  /** @param {number} a @param {number} b @param {number} c @param {number} d */
  #finish(a, b, c, d) {
    const low = mix((c & 0xffff0000) | (d >>> 16), 0x9e3779b1);
    this.low = low === 0 ? 1 : low;
    this.high = mix((a & 0xffff0000) | (b >>> 16), 0x85ebca6b);
  }
}

/**
 * @param {Int32Array} m @param {Int32Array} start @param {number} lane
 * @param {number} w0 @param {number} w1 @param {number} w2 @param {number} w3
 * @param {number} w4 @param {number} w5 @param {number} w6 @param {number} w7
 */
function uuidLane(m, start, lane, w0, w1, w2, w3, w4, w5, w6, w7) {
  const first = start[lane] + Math.imul(m[lane], w0) + Math.imul(m[lane + 4], w1) + Math.imul(m[lane + 8], w2);
  const second = Math.imul(m[lane + 12], w3) + Math.imul(m[lane + 16], w4) + Math.imul(m[lane + 20], w5);
  const third = Math.imul(m[lane + 24], w6) + Math.imul(m[lane + 28], w7) + m[lane + 32];
  return (first + second + third) | 0;
}

/**
 * Four hexadecimal digits as a word of 16 bits; a larger number if they are something else.
 * @param {string} id
 * @param {number} at
 */
function word(id, at) {
  return (
    (DIGITS[id.charCodeAt(at)] << 12) |
    (DIGITS[id.charCodeAt(at + 1)] << 8) |
    (DIGITS[id.charCodeAt(at + 2)] << 4) |
    DIGITS[id.charCodeAt(at + 3)]
  );
}

/**
 * A bijection. Ids that differ by a constant have sums that differ by a constant, which would cluster in a table.
 * @param {number} bits
 * @param {number} factor odd
 */
function mix(bits, factor) {
  const mixed = Math.imul(bits ^ (bits >>> 16), factor);
  return mixed ^ (mixed >>> 15);
}
