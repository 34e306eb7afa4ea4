/** The index in typed arrays gives the same answers as maps, whatever the order of events. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Fingerprint } from '../src/fingerprint.js';
import { Page } from '../src/page.js';
import { Revocations } from '../src/revocations.js';
import { Table } from '../src/table.js';
import { uuidText } from '../src/uuid.js';
import { Oracle } from './support/oracle.js';
import { writePage } from '../src/page-writer.js';

/** A multiple of the unit in which both remove what has lapsed. */
const NOW = 1_800_000_000;

/** A generator of numbers with a seed, so that a failure can be repeated. @param {number} seed */
function random(seed) {
  let state = seed;
  return (/** @type {number} */ below) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0;
    const mixed = Math.imul(state ^ (state >>> 13), 0x297a2d39);
    return ((mixed ^ (mixed >>> 16)) >>> 0) % below;
  };
}

/** An id of some form; `number` selects it. @param {number} number */
function idOf(number) {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32LE(Math.imul(number, 0x9e3779b1) >>> 0, 3);
  bytes.writeUInt32LE(number, 9);
  const uuid = uuidText(bytes, 0);
  switch (number % 8) {
    case 0:
      return uuid.toUpperCase() + '!';
    case 1:
      return String(number);
    case 2:
      return `jösé-${number}`;
    case 3:
      return `${number}`.padEnd(512, 'x');
    case 4:
      return uuid.replace('-', '_');
    default:
      return uuid;
  }
}

test('a million random operations: no difference', () => {
  const seed = Number(process.hrtime.bigint() % 1_000_000_007n);
  const next = random(seed);
  const index = new Revocations();
  const oracle = new Oracle();
  const issuers = ['adieu', 'https://a.example', 'b', 'c'];
  const kinds = /** @type {const} */ (['token', 'token', 'token', 'session', 'session', 'subject', 'everything', 'key', 'claim']);
  const names = ['tenant', 'role', 'n', 'is-beta'];
  const values = ['acme', 'true', '-7', '0', uuidText(Buffer.alloc(16, 7), 0), 'a\x1fb', ...Array.from({ length: 40 }, (_, at) => `${at}`)];
  const claims = [...values, true, false, 0, -0, -7, 7.5, null, {}, 3, 5.0, ['acme', [3]], [4, null, '9'], [], NaN, 2 ** 53];
  let mark = NOW;
  let compared = 0;
  let revoked = 0;
  const IDS = 60_000;
  for (let step = 0; step < 200_000; step += 1) {
    const issuer = /** @type {string} */ (issuers[next(8) % 4 === 3 ? next(4) : 0]);
    const kind = /** @type {typeof kinds[number]} */ (kinds[next(200) === 0 ? 6 + next(3) : next(6)]);
    const lifetime = next(50) === 0 ? next(2 ** 31) : next(20_000);
    const entry = {
      issuer,
      kind,
      id: kind === 'everything' ? '' : kind === 'claim' ? `${names[next(4)]}\x1f${values[next(values.length)]}` : idOf(next(IDS)),
      issuedUntil: kind === 'subject' || kind === 'claim' ? mark - next(3000) : kind === 'everything' ? mark - 3000 : 0,
      // No multiple of the unit, where one removes a second earlier than the other.
      lapsesAt: Math.floor((mark - 100 + lifetime) / 64) * 64 + 1 + next(63),
    };
    // Half of them through a page, as UUIDs in 16 bytes.
    if (next(2) === 0) {
      new Page(writePage([entry])).readSome(1, index);
    } else index.add(entry);
    oracle.add(entry);
    if (next(20) === 0) {
      const [own, id] = [next(2) === 0 ? /** @type {const} */ ('token') : /** @type {const} */ ('session'), idOf(next(IDS))];
      index.addOwn(own, issuer, id);
      oracle.addOwn(own, issuer, id);
    }
    if (next(500) === 0) {
      mark += 64 * (1 + next(4));
      for (const each of [index, oracle]) {
        each.raisePrunedThrough(mark);
        while (!each.forgetSome());
      }
      assert.equal(index.size, oracle.size);
    }
    for (let asked = 0; asked < 5; asked += 1) {
      const facts = {
        issuer: /** @type {string} */ (issuers[next(8) % 4 === 3 ? next(4) : 0]),
        tokenId: idOf(next(IDS)),
        session: next(3) === 0 ? undefined : idOf(next(IDS)),
        subject: next(3) === 0 ? undefined : idOf(next(IDS)),
        issuedAt: next(5) === 0 ? undefined : mark - next(4000),
        expiresAt: mark - 125 + next(20_000),
        kid: next(2) === 0 ? undefined : idOf(next(IDS)),
        claims: { [`${names[next(4)]}`]: claims[next(claims.length)], [`${names[next(4)]}`]: claims[next(claims.length)] },
      };
      compared += 1;
      const [found, expected] = [index.check(facts), oracle.check(facts)];
      if (found !== expected) assert.equal(found, expected, `seed ${seed}, step ${step}: ${JSON.stringify(facts)}`);
      if (found !== undefined) revoked += 1;
    }
  }
  assert.equal(compared, 1_000_000);
  assert.ok(revoked > 100_000 && revoked < 900_000, `${revoked} of them revoked`);
});

test('a revocation that is added while lapsed ones are removed is kept, as are all that have not lapsed', () => {
  const index = new Revocations();
  const add = (/** @type {string} */ id, /** @type {number} */ lapsesAt) =>
    index.add({ issuer: 'adieu', kind: 'token', id, issuedUntil: 0, lapsesAt });
  for (let number = 0; number < 60_000; number += 1) {
    add(`live-${number}`, NOW + 100_000 + number);
    add(`old-${number}`, NOW + (number % 500));
    if (number % 3 === 0) add(`old-${number}`, NOW + 100_000);
  }
  index.raisePrunedThrough(NOW + 1000);
  let steps = 0;
  while (!index.forgetSome()) {
    for (let number = 0; number < 2000; number += 1) add(`late-${steps}-${number}`, NOW + 5000);
    steps += 1;
  }
  assert.ok(steps > 10);
  const has = (/** @type {string} */ tokenId) =>
    index.check({ issuer: 'adieu', tokenId, session: undefined, subject: undefined, issuedAt: undefined, expiresAt: NOW + 9000 }) === 'token';
  for (let number = 0; number < 60_000; number += 1) {
    assert.ok(has(`live-${number}`));
    assert.equal(has(`old-${number}`), number % 3 === 0);
  }
  for (let step = 0; step < steps; step += 1) for (let number = 0; number < 2000; number += 1) assert.ok(has(`late-${step}-${number}`));
  assert.equal(index.size, 60_000 + 20_000 + 2000 * steps);
});

test('a revocation that lapses in centuries is kept as long as the others', () => {
  const index = new Revocations();
  for (const [number, lapsesAt] of [NOW + 17_000, NOW + 40 * 86_400, NOW + 2 ** 32, 253_402_300_799].entries()) {
    index.add({ issuer: 'adieu', kind: 'token', id: `t${number}`, issuedUntil: 0, lapsesAt });
  }
  for (const [mark, left] of [[NOW + 16_500, 4], [NOW + 18_000, 3], [NOW + 41 * 86_400, 2], [NOW + 2 ** 32 + 64, 1], [253_402_300_735, 1]]) {
    index.raisePrunedThrough(/** @type {number} */ (mark));
    while (!index.forgetSome());
    assert.equal(index.size, left, `at ${mark}`);
  }
});

test('ids that differ in one unit, in their length or by a lone surrogate have different fingerprints', () => {
  const fingerprint = new Fingerprint();
  const of = (/** @type {string} */ id) => {
    assert.notEqual(fingerprint.lowOf(id), 0);
    return `${fingerprint.lowOf(id)} ${fingerprint.highOf(id)}`;
  };
  const uuid = '01930a4e-5b7c-7d2f-9d3a-0c6f0f7f5a22';
  const ids = ['a', 'b', 'a\u0000', '\u0000a', '\u0001', 'a\u0001', '\ud800', '\udc00', '\ufffd', '\ufeffa', 'x'.repeat(511), 'x'.repeat(512)];
  ids.push(uuid, uuid.toUpperCase(), uuid.replace('-', '_'), uuid.replace('a', 'A'), uuid.replace('a', '\u0101'), `${uuid.slice(1)}g`);
  assert.equal(new Set(ids.map(of)).size, ids.length);
  const bytes = Buffer.from(uuid.replaceAll('-', ''), 'hex');
  const table = new Table();
  fingerprint.addUuid(bytes, 0, table, 1);
  assert.equal(table.has(fingerprint.lowOf(uuid), fingerprint.highOf(uuid)), true);
  assert.throws(() => of('x'.repeat(513)), RangeError);
  const another = new Fingerprint();
  assert.notEqual(`${another.lowOf(uuid)} ${another.highOf(uuid)}`, of(uuid), 'each index has a key of its own');
});

test('fingerprints that all belong to one place are kept, wherever it is', () => {
  for (const first of [-(2 ** 31), 1, 2 ** 31 - 10_000]) {
    const table = new Table();
    // Each `low` is there twice.
    for (let number = 0; number < 20_000; number += 1) table.add(first + (number >> 1), number & 1, NOW);
    assert.equal(table.size, 20_000);
    for (let number = 0; number < 20_000; number += 997) {
      assert.ok(table.hasLow(first + (number >> 1)));
      assert.ok(table.has(first + (number >> 1), number & 1));
      assert.ok(!table.has(first + (number >> 1), 2));
    }
    assert.ok(!table.hasLow(first + 10_000));
  }
});
