/** Writes pages of the feed in the binary form, as a node does; also invalid ones, for tests. */

import { partsOfClaim } from './claims.js';

/** @typedef {import('./page.js').Entry} Entry */

/**
 * @typedef {object} Header
 * @property {number} [flags]
 * @property {number} [age]
 * @property {number} [prunedThrough]
 * @property {number} [maxStaleness]
 * @property {string} [issuer]
 * @property {string} [log]
 * @property {number} [position]
 * @property {number} [count]
 */

const KINDS = { token: 1, session: 2, subject: 3, everything: 4, key: 5, claim: 6 };
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * @param {Entry[]} entries
 * @param {Header} [header]
 */
export function writePage(entries, header = {}) {
  const { flags = 1, age = 3, prunedThrough = 0, maxStaleness = 2000, issuer = 'adieu', log = '0f3a', position = entries.length } = header;
  const issuers = [issuer];
  /** @type {(number | Buffer)[]} */
  const parts = [Buffer.from('ADRV\x01', 'latin1'), flags];
  const number = (/** @type {number | bigint} */ value) => parts.push(leb128(value));
  const text = (/** @type {string} */ value) => {
    const bytes = Buffer.from(value);
    number(bytes.length);
    parts.push(bytes);
  };
  const difference = (/** @type {number} */ value) => number(value < 0 ? -2 * value - 1 : 2 * value);
  for (const value of [age, prunedThrough, maxStaleness]) number(value);
  text(issuer);
  text(log);
  number(position);
  number(header.count ?? entries.length);
  let before = 0;
  for (const entry of entries) {
    const { name, value: id } = entry.kind === 'claim' ? partsOfClaim(entry.id) : { name: '', value: entry.id };
    const isUuid = UUID.test(id);
    parts.push(KINDS[entry.kind] | (isUuid ? 128 : 0));
    const known = issuers.indexOf(entry.issuer);
    number(known < 0 ? issuers.length : known);
    if (known < 0) {
      issuers.push(entry.issuer);
      text(entry.issuer);
    }
    if (entry.kind === 'claim') text(name);
    if (isUuid) parts.push(Buffer.from(id.replaceAll('-', ''), 'hex'));
    else if (entry.kind !== 'everything') text(id);
    difference(entry.lapsesAt - before);
    before = entry.lapsesAt;
    if (['subject', 'everything', 'claim'].includes(entry.kind)) difference(entry.issuedUntil - entry.lapsesAt);
  }
  return Buffer.concat(parts.map((part) => (typeof part === 'number' ? Buffer.of(part) : part)));
}

/** @param {number | bigint} value */
export function leb128(value) {
  const bytes = [];
  let left = BigInt(value);
  for (; left > 127n; left >>= 7n) bytes.push(Number(left & 127n) | 128);
  bytes.push(Number(left));
  return Buffer.from(bytes);
}
