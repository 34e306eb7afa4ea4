/** The index and the decoder of pages under random input that fast-check shrinks when it finds a difference. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { NodeError } from '../src/errors.js';
import { writePage } from '../src/page-writer.js';
import { Page } from '../src/page.js';
import { Revocations } from '../src/revocations.js';
import { uuidText } from '../src/uuid.js';
import { Oracle } from './support/oracle.js';

/** A multiple of the unit in which both remove what has lapsed. */
const NOW = 1_800_000_000;

const ISSUERS = ['adieu', 'https://a.example'];
const KINDS = /** @type {const} */ (['token', 'session', 'subject', 'everything', 'key', 'claim']);
const NAMES = ['tenant', 'role'];
const VALUES = ['acme', 'true', '7', '-7', '0', uuidText(Buffer.alloc(16, 7), 0)];
const CLAIMS = [undefined, ...VALUES, true, 7, -7, 0, -0, 1, 7.5, null, {}, ['acme', 3], [[7]], ['x', 7]];

/** Sixteen texts and as many UUIDs. */
const IDS = Array.from({ length: 32 }, (_, number) => (number % 2 ? uuidText(Buffer.alloc(16, number), 0) : `jösé-${number}`.padEnd(number * 15, 'x')));

/** The parts of a number, from its lowest bits. @param {number} number */
function parts(number) {
  let left = number;
  return (/** @type {number} */ below) => {
    const part = left % below;
    left = Math.floor(left / below);
    return part;
  };
}

test('whatever is added and removed in whatever order, the index and the maps agree', () => {
  let operations = 0;
  const numbers = fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 2000, size: 'max' });
  const property = fc.property(numbers, (steps) => {
    const [index, oracle] = [new Revocations(), new Oracle()];
    let mark = NOW;
    for (const [change, question] of steps) {
      const next = parts(change);
      const operation = next(16);
      const issuer = /** @type {string} */ (ISSUERS[next(2)]);
      const kind = /** @type {typeof KINDS[number]} */ (KINDS[next(6)]);
      const number = next(32);
      const claim = `${NAMES[number % 2]}\x1f${VALUES[number % VALUES.length]}`;
      const id = kind === 'everything' ? '' : kind === 'claim' ? claim : /** @type {string} */ (IDS[number]);
      if (operation === 0) {
        mark += 64 * next(4);
        for (const each of [index, oracle]) {
          each.raisePrunedThrough(mark);
          while (!each.forgetSome());
        }
        assert.equal(index.size, oracle.size);
      } else if (operation === 1 && (kind === 'token' || kind === 'session')) {
        index.addOwn(kind, issuer, id);
        oracle.addOwn(kind, issuer, id);
      } else {
        // No multiple of the unit, where one removes a second earlier than the other.
        const entry = { issuer, kind, id, issuedUntil: 0, lapsesAt: mark - 64 + 64 * next(6) + 1 + next(63) };
        if (['subject', 'everything', 'claim'].includes(kind)) entry.issuedUntil = mark - next(600);
        if (operation % 2) new Page(writePage([entry])).readSome(1, index);
        else index.add(entry);
        oracle.add(entry);
      }
      const ask = parts(question);
      const facts = {
        issuer: /** @type {string} */ (ISSUERS[ask(2)]),
        tokenId: /** @type {string} */ (IDS[ask(32)]),
        session: [undefined, ...IDS][ask(33)],
        subject: [undefined, ...IDS][ask(33)],
        issuedAt: [undefined, mark - ask(700)][ask(2)],
        expiresAt: mark - 125 + ask(10) * 60,
        kid: [undefined, ...IDS][ask(33)],
        claims: { tenant: CLAIMS[ask(CLAIMS.length)], role: CLAIMS[ask(CLAIMS.length)] },
      };
      assert.equal(index.check(facts), oracle.check(facts));
      operations += 2;
    }
  });
  fc.assert(property, { numRuns: 700 });
  assert.ok(operations >= 1_000_000, `${operations} operations`);
});

/** Reads a page to its end. Returns its entries, or undefined if it is not one. @param {Uint8Array} bytes */
function read(bytes) {
  try {
    const index = new Revocations();
    new Page(bytes).readSome(70_000, index);
    return new Page(bytes).entries();
  } catch (error) {
    assert.ok(error instanceof NodeError && error.code === 'ADIEU_ANSWER', String(error));
    return undefined;
  }
}

const RESERVED = ['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti', 'sid', 'type', 'fresh'];
const NAME = fc.stringMatching(/^[!-~]{1,128}$/).filter((name) => !RESERVED.includes(name));
const ISSUER = fc.string({ minLength: 1, maxLength: 20 });
const TIME = fc.nat(253_402_300_799);

const WITH_ID = fc.record(
  {
    issuer: ISSUER,
    kind: fc.constantFrom('token', /** @type {const} */ ('session'), /** @type {const} */ ('subject'), /** @type {const} */ ('key')),
    id: fc.oneof(fc.uuid(), fc.string({ minLength: 1, maxLength: 100, unit: 'grapheme' })),
    lapsesAt: TIME,
    issuedUntil: fc.constant(0),
  },
  { noNullPrototype: true },
);

const CLAIM = fc.record(
  {
    issuer: ISSUER,
    kind: fc.constant(/** @type {const} */ ('claim')),
    id: fc.tuple(NAME, fc.oneof(fc.uuid(), fc.string({ minLength: 1, maxLength: 40, unit: 'grapheme' }))).map((parts) => parts.join('\x1f')),
    lapsesAt: TIME,
    issuedUntil: TIME,
  },
  { noNullPrototype: true },
).filter(({ id }) => Buffer.byteLength(id) <= 512);

const ENTRY = fc.oneof({ weight: 4, arbitrary: WITH_ID }, { weight: 1, arbitrary: CLAIM });

test('a page is read as it was written', () => {
  const property = fc.property(fc.array(ENTRY, { maxLength: 20 }), (entries) => {
    assert.deepEqual(read(writePage(entries)), entries);
  });
  fc.assert(property, { numRuns: 2000 });
});

test('random bytes are a page or an ADIEU_ANSWER', () => {
  const beginning = Buffer.from('ADRV\x01', 'latin1');
  const property = fc.property(fc.uint8Array({ maxLength: 200, size: 'max' }), (bytes) => {
    read(bytes);
    read(Buffer.concat([beginning, bytes]));
  });
  fc.assert(property, { numRuns: 20_000 });
});

test('a page in which some bytes were changed, or that was cut, is a page or an ADIEU_ANSWER', () => {
  const change = fc.tuple(fc.nat(), fc.nat(255));
  let refused = 0;
  const property = fc.property(fc.array(ENTRY, { maxLength: 6 }), fc.array(change, { minLength: 1, maxLength: 4 }), fc.nat(), (entries, changes, end) => {
    const page = writePage(entries);
    assert.equal(read(page.subarray(0, end % page.length)), undefined);
    for (const [at, byte] of changes) page[at % page.length] = byte;
    if (read(page) === undefined) refused += 1;
  });
  fc.assert(property, { numRuns: 10_000 });
  assert.ok(refused > 1000, `${refused} refused`);
});
