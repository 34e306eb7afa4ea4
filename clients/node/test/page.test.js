import assert from 'node:assert/strict';
import { test } from 'node:test';

import { readPage } from '../src/page.js';

const PAGE = {
  cursor: '0f3a.12',
  complete: true,
  from_start: false,
  age_ms: 3,
  pruned_through: 1_800_000_000,
  issuer: 'adieu',
  max_staleness_ms: 2000,
  entries: [
    { issuer: 'adieu', kind: 'token', id: 't1', expires_at: 1_800_000_900, lapses_at: 1_800_001_020 },
    { issuer: 'adieu', kind: 'token', id: 't2', expires_at: null, lapses_at: 1_800_001_020 },
    { issuer: 'adieu', kind: 'session', id: 's1', lapses_at: 1_800_001_020 },
    { issuer: 'https://auth.example', kind: 'subject', id: 'jose', issued_until: 1_800_000_000, lapses_at: 1_800_001_020 },
    { issuer: 'adieu', kind: 'everything', issued_until: 1_800_000_000, lapses_at: 1_800_001_020 },
  ],
};

test('a page is read as documented, and unknown members are ignored', () => {
  const page = readPage(JSON.stringify({ ...PAGE, head: 'new' }));
  assert.equal(page.cursor, '0f3a.12');
  assert.equal(page.age, 3);
  assert.deepEqual(
    page.entries.map(({ issuer, kind, id, issuedUntil }) => [issuer, kind, id, issuedUntil]),
    [
      ['adieu', 'token', 't1', 0],
      ['adieu', 'token', 't2', 0],
      ['adieu', 'session', 's1', 0],
      ['https://auth.example', 'subject', 'jose', 1_800_000_000],
      ['adieu', 'everything', '', 1_800_000_000],
    ],
  );
});

test('an invalid page does not count as a page without revocations', () => {
  for (const text of ['', '<html>', 'null', '[]', '{}', '"ok"', '{"status":"ok"}']) {
    assert.throws(() => readPage(text), { name: 'NodeError' }, text);
  }
  for (const name of Object.keys(PAGE)) {
    for (const value of [undefined, null, 'x', -1, {}]) {
      if (name === 'issuer' && value === 'x') continue;
      assert.throws(() => readPage(JSON.stringify({ ...PAGE, [name]: value })), { name: 'NodeError' }, `${name}: ${value}`);
    }
  }
});

test('an unknown entry is an error, and is not skipped', () => {
  const [good] = PAGE.entries;
  for (const entry of [
    { ...good, kind: 'family' },
    { ...good, id: undefined },
    { ...good, id: 7 },
    { ...good, issuer: '' },
    { ...good, lapses_at: '1800001020' },
    { ...good, kind: 'subject' },
    { ...good, kind: 'everything' },
    null,
  ]) {
    assert.throws(() => readPage(JSON.stringify({ ...PAGE, entries: [good, entry] })), { name: 'NodeError' }, JSON.stringify(entry));
  }
});

test('the memory for a page of a hostile node is bounded', () => {
  const page = (/** @type {string} */ entries) => `${JSON.stringify({ ...PAGE, entries: [] }).slice(0, -2)}${entries}]}`;
  const entry = JSON.stringify(PAGE.entries[0]);
  const most = 15 * 1024 * 1024;
  for (const entries of ['[],', '{},', '1,', '"",']) {
    assert.throws(() => readPage(page(`${entries.repeat(most / entries.length)}1`)), /too many values/, entries);
  }
  assert.throws(() => readPage(page(`${`${entry},`.repeat(65_536)}${entry}`)), /entries/);
  // Whatever the ids contain, since any client may choose them.
  const id = '{"[,\\'.repeat(8);
  const largest = readPage(JSON.stringify({ ...PAGE, entries: Array(65_536).fill({ ...PAGE.entries[0], id }) }));
  assert.equal(largest.entries.length, 65_536);
  assert.equal(largest.entries[0]?.id, id);
});
