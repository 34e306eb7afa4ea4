/**
 * Reads the JSON objects of a token as strictly as a node does, so that a token is valid for every reader or for none: canonical base64url
 * (RFC 7515 section 2), UTF-8, no name twice, and no number, nesting or text that another parser would refuse.
 */

import { isUtf8 } from 'node:buffer';

import { TokenError } from './errors.js';

/** The maximum length of a token in bytes, unless set otherwise. */
export const MAX_TOKEN_BYTES = 8192;

/** The maximum number of members, and the maximum nesting. */
const MAX_MEMBERS = 128;
const MAX_DEPTH = 127;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** In the output of `JSON.stringify()`: half of a surrogate pair. */
const LONE_SURROGATE = /(?<!\\)(?:\\\\)*\\ud[89a-f]/;

/** What is being decoded. Decoding into a buffer of its own is cheaper than allocating one. It grows with the longest token. */
let bytes = Buffer.allocUnsafeSlow(MAX_TOKEN_BYTES);

/** @param {string} message */
export function malformed(message) {
  return new TokenError('invalid_token', `the token is malformed: ${message}`);
}

/**
 * Returns an object and its JSON text.
 * @param {string} encoded
 * @param {string} what the part of the token, for error messages
 * @returns {{ text: string, value: Record<string, unknown> }}
 * @throws {TokenError}
 */
export function readObject(encoded, what) {
  if (encoded.length > bytes.length) bytes = Buffer.allocUnsafeSlow(encoded.length);
  const length = bytes.write(encoded, 0, 'base64url');
  // Decoding ignores unused bits and characters that are not base64url.
  if (bytes.toString('base64url', 0, length) !== encoded) throw malformed(`the ${what} is not canonical base64url`);
  const text = bytes.toString('utf8', 0, length);
  if (text.includes('\uFFFD') && !isUtf8(bytes.subarray(0, length))) throw malformed(`the ${what} is not UTF-8`);
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw malformed(`the ${what} is not JSON`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed(`the ${what} is not a JSON object`);
  const members = countMembers(text);
  if (members > MAX_MEMBERS || members < 0) throw malformed(`the ${what} has too many members`);
  if (members !== Object.keys(value).length) throw malformed(`a name appears twice in the ${what}`);
  if (!isFinite(value)) throw malformed(`the ${what} has a number that is too large`);
  if (text.includes('\\u') && LONE_SURROGATE.test(JSON.stringify(value))) throw malformed(`the ${what} is not Unicode text`);
  return { text, value };
}

/**
 * Checks that no object inside a claim has a name twice either: two parsers could read different subjects there.
 * @param {{ text: string, value: Record<string, unknown> }} object from {@link readObject}
 * @throws {TokenError}
 */
export function checkNames({ text, value }) {
  if (countMembers(text, MAX_DEPTH) !== countNames(value)) throw malformed('a name appears twice in a claim');
}

/** Returns the number of names in an object or array, at any depth. @param {object} value @returns {number} */
function countNames(value) {
  let names = Array.isArray(value) ? 0 : Object.keys(value).length;
  for (const inner of Object.values(value)) if (typeof inner === 'object' && inner !== null) names += countNames(inner);
  return names;
}

/**
 * Returns the number of members of a valid JSON object, a name that is repeated as often as it is; -1 if it is nested too deeply.
 * @param {string} text
 * @param {number} deepest counts the members of objects down to this depth; 1 is the object itself
 */
function countMembers(text, deepest = 1) {
  let depth = 0;
  let members = 0;
  for (let at = 0; at < text.length; at += 1) {
    switch (text.charCodeAt(at)) {
      case QUOTE:
        do at = text.indexOf('"', at + 1);
        while (isEscaped(text, at));
        break;
      case 0x3a: // :
        if (depth <= deepest) members += 1;
        break;
      case 0x7b: // {
      case 0x5b: // [
        depth += 1;
        if (depth > MAX_DEPTH) return -1;
        break;
      case 0x7d: // }
      case 0x5d: // ]
        depth -= 1;
    }
  }
  return members;
}

/** @param {string} text @param {number} at */
function isEscaped(text, at) {
  let before = at - 1;
  while (text.charCodeAt(before) === BACKSLASH) before -= 1;
  return (at - before) % 2 === 0;
}

/** Returns whether all numbers in an object or array are finite. @param {object} value */
function isFinite(value) {
  for (const name in value) {
    const member = /** @type {Record<string, unknown>} */ (value)[name];
    if (typeof member === 'number' ? !Number.isFinite(member) : typeof member === 'object' && member !== null && !isFinite(member)) {
      return false;
    }
  }
  return true;
}
