import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { Page } from '../src/page.js';
import { leb128, writePage } from '../src/page-writer.js';

/** @typedef {import('../src/page.js').Entry} Entry */

const FIXTURES = new URL('../../../crates/adieu-client/tests/fixtures/feed/', import.meta.url);

/** @type {Entry[]} */
const ENTRIES = [
  { issuer: 'adieu', kind: 'token', id: '5d1f0a52-2f3b-4a40-9d0c-1d6f3f9b0e11', issuedUntil: 0, lapsesAt: 1_800_001_020 },
  { issuer: 'adieu', kind: 'token', id: '\ufefft2', issuedUntil: 0, lapsesAt: 1_800_001_020 },
  { issuer: 'adieu', kind: 'session', id: 's1', issuedUntil: 0, lapsesAt: 1_800_000_020 },
  { issuer: 'https://auth.example', kind: 'subject', id: '01930a4e-5b7c-7d2f-9d3a-0c6f0f7f5a22', issuedUntil: 1_800_000_000, lapsesAt: 1_800_001_020 },
  { issuer: 'https://auth.example', kind: 'subject', id: 'josé', issuedUntil: 1_800_000_000, lapsesAt: 253_402_300_799 },
  { issuer: 'adieu', kind: 'everything', id: '', issuedUntil: 1_800_000_000, lapsesAt: 1_800_001_020 },
  { issuer: 'adieu', kind: 'key', id: '01930a4e-5b7c-7d2f-9d3a-0c6f0f7f5a22', issuedUntil: 0, lapsesAt: 253_402_300_799 },
  { issuer: 'https://other.example', kind: 'key', id: 'kid-1', issuedUntil: 0, lapsesAt: 253_402_300_799 },
  { issuer: 'adieu', kind: 'claim', id: 'tenant\x1fjosé\x1f', issuedUntil: 1_800_000_000, lapsesAt: 1_800_001_020 },
  { issuer: 'adieu', kind: 'claim', id: 'tenant\x1f01930a4e-5b7c-7d2f-9d3a-0c6f0f7f5a22', issuedUntil: 1_800_000_000, lapsesAt: 1_800_001_020 },
];

/** The bytes of a fixture, which has comments. @param {string} name */
function fixture(name) {
  const lines = readFileSync(new URL(name, FIXTURES), 'utf8').split('\n');
  return Buffer.from(lines.map((line) => line.replace(/#.*/, '').replaceAll(' ', '')).join(''), 'hex');
}

for (const name of ['v1', 'kinds']) test(`a page of a node is read as documented: ${name}`, () => {
  const page = new Page(fixture(`${name}.binary.hex`));
  const json = JSON.parse(readFileSync(new URL(`${name}.json`, FIXTURES), 'utf8'));
  const { cursor, complete, fromStart, age, prunedThrough, issuer, maxStaleness } = page;
  const { entries, ...header } = json;
  assert.deepEqual(
    { cursor, complete, from_start: fromStart, age_ms: age, pruned_through: prunedThrough, issuer, max_staleness_ms: maxStaleness },
    header,
  );
  const expected = entries.map((/** @type {Record<string, any>} */ entry) => ({
    issuer: entry.issuer,
    kind: entry.kind,
    id: entry.id ?? (entry.kind === 'claim' ? `${entry.name}\x1f${entry.value}` : ''),
    issuedUntil: entry.issued_until ?? 0,
    lapsesAt: entry.lapses_at,
  }));
  assert.deepEqual(page.entries(), expected);
});

test('all kinds of entries are read, also in pieces', () => {
  assert.deepEqual(new Page(writePage(ENTRIES)).entries(), ENTRIES);
  const page = new Page(writePage(ENTRIES));
  let seen = 0;
  const sink = { add: () => void (seen += 1), addUuid: () => void (seen += 1) };
  assert.equal(page.readSome(4, sink), false);
  assert.equal(seen, 4);
  assert.equal(page.readSome(6, sink), true);
  assert.equal(seen, ENTRIES.length);
});

test('a page that was cut off or has bytes too many does not count as a page', () => {
  const whole = writePage(ENTRIES);
  for (let length = 0; length < whole.length; length += 1) {
    assert.throws(() => new Page(whole.subarray(0, length)).entries(), { code: 'ADIEU_ANSWER' }, `${length} bytes`);
  }
  assert.throws(() => new Page(Buffer.concat([whole, Buffer.of(0)])).entries(), { code: 'ADIEU_ANSWER' });
  assert.throws(() => new Page(Buffer.concat([writePage([]), Buffer.of(0)])).entries(), { code: 'ADIEU_ANSWER' });
});

test('anything that the form does not describe is an error, and is not skipped', () => {
  const header = writePage([], { count: 1 });
  const entry = (/** @type {(number | Buffer)[]} */ ...parts) =>
    Buffer.concat([header, ...parts.map((part) => (typeof part === 'number' ? Buffer.of(part) : part))]);
  const late = leb128(2n * 253_402_300_800n);
  const good = entry(2, 0, 1, 0x61, 10);
  assert.equal(new Page(good).entries().length, 1);
  for (const [what, bytes] of Object.entries({
    'an unknown kind': entry(7, 0, 1, 0x61, 10),
    'a claim without a name': entry(6, 0, 0, 1, 0x61, 10, 1),
    'a claim whose name has a space': entry(6, 0, 1, 0x20, 1, 0x61, 10, 1),
    'a claim whose name is not ASCII': entry(6, 0, 2, 0xc3, 0xa9, 1, 0x61, 10, 1),
    'a claim with a name of 129 bytes': entry(6, 0, leb128(129), Buffer.alloc(129, 0x61), 1, 0x61, 10, 1),
    'a claim that has a kind of its own': entry(6, 0, 3, Buffer.from('sub'), 1, 0x61, 10, 1),
    'a claim without a value': entry(6, 0, 1, 0x61, 0, 10, 1),
    'a claim of 513 bytes': entry(6, 0, 1, 0x61, leb128(511), Buffer.alloc(511, 0x61), 10, 1),
    'a claim without a cut-off': entry(6, 0, 1, 0x61, 1, 0x61, 10),
    'a key with a cut-off': entry(5, 0, 1, 0x61, 10, 1),
    'a key without an id': entry(5, 0, 0, 10),
    'everything with an id': entry(4 | 128, 0, Buffer.alloc(16), 10, 0),
    'an issuer that was left out': entry(2, 2, 1, 0x61, 10),
    'an empty id': entry(2, 0, 0, 10),
    'an id over 512 bytes': entry(2, 0, leb128(513), Buffer.alloc(513, 0x61), 10),
    'invalid UTF-8': entry(2, 0, 1, 0xff, 10),
    'a time before 1970': entry(2, 0, 1, 0x61, 1),
    'a time after 9999': entry(2, 0, 1, 0x61, late),
    'a number over 64 bits': entry(2, 0, 1, 0x61, leb128(2n ** 70n)),
    'a number that does not end': entry(2, 0, 1, 0x61, Buffer.alloc(64, 0xff)),
    'a number that is not in its shortest form': entry(2, 0, 1, 0x61, 0x8a, 0),
    'an exp beyond 64 bits': entry(0, 0, 1, 0x61, 10, leb128(2n ** 66n)),
    'other flags': writePage([], { flags: 4 }),
    'too many entries': writePage([], { count: 65_537 }),
    'a mark after 9999': writePage([], { prunedThrough: 253_402_300_800 }),
    'another version': Buffer.concat([Buffer.from('ADRV\x02', 'latin1'), header.subarray(5)]),
    'JSON': Buffer.from('{"cursor":"a.1","complete":true,"entries":[]}'),
    'a compressed page': Buffer.from([0x1f, 0x8b, 8, 0]),
  })) {
    assert.throws(() => new Page(bytes).entries(), { name: 'NodeError', code: 'ADIEU_ANSWER' }, what);
  }
  assert.throws(() => new Page(entry(7, 0, 1, 0x61, 10)).entries(), /an unknown kind "7": this follower is too old for the node/);
  assert.equal(new Page(entry(6, 0, 1, 0x61, leb128(510), Buffer.alloc(510, 0x61), 10, 1)).entries().length, 1);
});
