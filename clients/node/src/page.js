/** Parses a page of the feed, strictly: unknown content must not count as "nothing has been revoked". */

import { NodeError } from './errors.js';

/**
 * @typedef {object} Entry
 * @property {string} issuer
 * @property {'token' | 'session' | 'subject' | 'everything'} kind
 * @property {string} id empty for `everything`
 * @property {number} issuedUntil the last `iat` that is revoked; for `subject` and `everything` only
 * @property {number} lapsesAt from this time on, every token that it matches has expired
 */

/**
 * @typedef {object} Page
 * @property {string} cursor where the next page begins
 * @property {boolean} complete whether the page ends at the end of the log
 * @property {boolean} fromStart whether it starts at the beginning of the log
 * @property {number} age the staleness of the node itself, in milliseconds
 * @property {number} prunedThrough revocations that lapsed until this time may have been removed
 * @property {string} issuer the node's own
 * @property {number} maxStaleness the node's bound, in milliseconds
 * @property {Entry[]} entries
 */

/** The maximum number of entries of a page. A node sends no more. */
const MAX_ENTRIES = 65_536;

/** The maximum number of values in a page. A limit on bytes is not enough: a value takes many times more in memory. */
const MAX_VALUES = 16 * MAX_ENTRIES;

/**
 * @param {string} text
 * @returns {Page}
 */
export function readPage(text) {
  if (text.length > MAX_VALUES && values(text) > MAX_VALUES) throw new NodeError('the answer has too many values for a page of a feed');
  /** @type {unknown} */
  let json;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new NodeError('the answer is not JSON; is it a node that was asked?', { cause });
  }
  const page = object(json, 'the page');
  const cursor = string(page.cursor, 'cursor');
  if (!/^.+\.\d+$/s.test(cursor)) throw misread('cursor');
  if (!Array.isArray(page.entries) || page.entries.length > MAX_ENTRIES) throw misread('entries');
  return {
    cursor,
    complete: boolean(page.complete, 'complete'),
    fromStart: boolean(page.from_start, 'from_start'),
    age: number(page.age_ms, 'age_ms'),
    prunedThrough: number(page.pruned_through, 'pruned_through'),
    issuer: string(page.issuer, 'issuer'),
    maxStaleness: number(page.max_staleness_ms, 'max_staleness_ms'),
    entries: page.entries.map(readEntry),
  };
}

/**
 * Returns an upper bound of the number of values in a JSON text, without creating them.
 * @param {string} text
 */
function values(text) {
  let found = 0;
  let isWithinString = false;
  for (let at = 0; at < text.length; at += 1) {
    const letter = text[at];
    if (letter === '"') isWithinString = !isWithinString;
    else if (isWithinString) at += letter === '\\' ? 1 : 0;
    else if (letter === ',' || letter === '{' || letter === '[') found += 1;
  }
  return found;
}

/**
 * @param {unknown} json
 * @returns {Entry}
 */
function readEntry(json) {
  const entry = object(json, 'entries');
  const issuer = string(entry.issuer, 'issuer');
  const lapsesAt = number(entry.lapses_at, 'lapses_at');
  switch (entry.kind) {
    case 'token':
    case 'session':
      return { issuer, kind: entry.kind, id: string(entry.id, 'id'), issuedUntil: 0, lapsesAt };
    case 'subject':
    case 'everything': {
      const id = entry.kind === 'subject' ? string(entry.id, 'id') : '';
      return { issuer, kind: entry.kind, id, issuedUntil: number(entry.issued_until, 'issued_until'), lapsesAt };
    }
    default:
      throw new NodeError('the feed has a kind of revocation that this version does not know; update this package');
  }
}

/** @param {string} name */
function misread(name) {
  return new NodeError(`the answer is no page of a feed (${name}); is it a node that was asked?`);
}

/**
 * @param {unknown} value
 * @param {string} name
 * @returns {Record<string, unknown>}
 */
function object(value, name) {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw misread(name);
  return /** @type {Record<string, unknown>} */ (value);
}

/**
 * @param {unknown} value
 * @param {string} name
 */
function string(value, name) {
  if (typeof value !== 'string' || value === '') throw misread(name);
  return value;
}

/**
 * @param {unknown} value
 * @param {string} name
 */
function number(value, name) {
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) throw misread(name);
  return value;
}

/**
 * @param {unknown} value
 * @param {string} name
 */
function boolean(value, name) {
  if (typeof value !== 'boolean') throw misread(name);
  return value;
}
