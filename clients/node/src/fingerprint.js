/**
 * Fingerprints of ids: 64 bits, under a random key.
 *
 * A text is the sequence of its UTF-16 units w_1 … w_n, followed by a unit of 1. Each of four lanes is the multilinear sum
 * Σ m_i · w_i modulo 2³² with random 32-bit multipliers of its own, of which the upper 16 bits are kept. This family is strongly
 * universal (Lemire and Kaser, "Strongly universal string hashing is fast", 2014, theorem 3.1: with words of 16 bits, the upper 17 of 32
 * bits; the multiplier of the last unit is their constant term), also for texts of different lengths, because only the longer one has that
 * multiplier. Two different ids of at most 512 units therefore have the same fingerprint with a probability of 2⁻⁶⁴, whoever chose them, as
 * long as the choice does not depend on the key. An id is wrongly found among n others with a probability of at most n · 2⁻⁶⁴, and twice
 * that because 0 becomes 1: below 10⁻¹² for n up to 9 million, and 1.1 · 10⁻¹³ for a million.
 *
 * The two halves are separate, because most look-ups need one: it is seldom that of another id.
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

/** Where the words of a UUID begin in its text. */
const WORDS = Uint8Array.of(0, 4, 9, 14, 19, 24, 28, 32);

export class Fingerprint {
  // UUIDs have multipliers of their own, so that the short form of a UUID cannot have the sum of another text.
  #ofUuids = crypto.getRandomValues(new Int32Array(LANES * (UUID_WORDS + 1)));
  #ofTexts = crypto.getRandomValues(new Int32Array(LANES * (MAX_UNITS + 1)));

  /**
   * Returns one half of the fingerprint of an id; never 0. A UUID in lower case with hyphens has the same one as its 16 bytes.
   * @param {string} id
   */
  lowOf(id) {
    return low(this.#lanesOf(id, 0));
  }

  /** Returns the other half. @param {string} id */
  highOf(id) {
    return high(this.#lanesOf(id, 2));
  }

  /**
   * Adds the fingerprint of a UUID, from its 16 bytes, to a table.
   * @param {Uint8Array} bytes
   * @param {number} from
   * @param {import('./table.js').Table} table
   * @param {number} lapsesAt
   */
  addUuid(bytes, from, table, lapsesAt) {
    const m = this.#ofUuids;
    let a = 0;
    let b = 0;
    let c = 0;
    let d = 0;
    let at = 0;
    for (const end = from + 16; from < end; from += 2, at += LANES) {
      const word = (bytes[from] << 8) | bytes[from + 1];
      a = (a + Math.imul(m[at], word)) | 0;
      b = (b + Math.imul(m[at + 1], word)) | 0;
      c = (c + Math.imul(m[at + 2], word)) | 0;
      d = (d + Math.imul(m[at + 3], word)) | 0;
    }
    table.add(low(upper(a + m[at], b + m[at + 1])), high(upper(c + m[at + 2], d + m[at + 3])), lapsesAt);
  }

  /** Returns two lanes. @param {string} id @param {number} at the first of them */
  #lanesOf(id, at) {
    let a = 0;
    let b = 0;
    if (id.length === 36 && hasHyphens(id)) {
      const m = this.#ofUuids;
      let all = 0;
      let next = at;
      for (let word = 0; word < UUID_WORDS; word += 1, next += LANES) {
        const digits = digitsAt(id, WORDS[word]);
        all |= digits;
        a = (a + Math.imul(m[next], digits)) | 0;
        b = (b + Math.imul(m[next + 1], digits)) | 0;
      }
      if (all >>> 16 === 0) return upper(a + m[next], b + m[next + 1]);
      a = b = 0;
    }
    // More units than multipliers: such an id has no revocation, and the caller rejects it before.
    if (id.length > MAX_UNITS) throw new RangeError('the id is too long');
    const m = this.#ofTexts;
    for (let index = 0; index < id.length; index += 1, at += LANES) {
      const unit = id.charCodeAt(index);
      a = (a + Math.imul(m[at], unit)) | 0;
      b = (b + Math.imul(m[at + 1], unit)) | 0;
    }
    return upper(a + m[at], b + m[at + 1]);
  }
}

/** The upper halves of two lanes. @param {number} a @param {number} b */
function upper(a, b) {
  return (a & 0xffff0000) | ((b >>> 16) & 0xffff);
}

/** @param {number} lanes */
function low(lanes) {
  return mix(lanes, 0x9e3779b1) || 1;
}

/** @param {number} lanes */
function high(lanes) {
  return mix(lanes, 0x85ebca6b);
}

/** @param {string} id */
function hasHyphens(id) {
  return id.charCodeAt(8) === HYPHEN && id.charCodeAt(13) === HYPHEN && id.charCodeAt(18) === HYPHEN && id.charCodeAt(23) === HYPHEN;
}

/**
 * Four hexadecimal digits as a word of 16 bits; a larger number if they are something else.
 * @param {string} id
 * @param {number} at
 */
function digitsAt(id, at) {
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
