/** The memory for verified tokens is bounded, and finds a token by all of it. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { KeySet, fixedKey } from '../src/keys.js';
import { VerifiedTokens } from '../src/verified-tokens.js';
import { SECRET } from './support/tokens.js';

const KEY = fixedKey(SECRET, 'HS256');

/** @param {string} text @returns {import('../src/verified-tokens.js').Verified} */
const verified = (text) => ({
  text,
  key: KEY,
  facts: { claims: { iss: 'shop', jti: 'a', exp: 2 ** 31 }, begins: 0, audience: undefined, kind: 'access' },
});

/** @param {number} number */
const name = (number) => `header.payload-${number}.signature-${number}`;

test('there are never more tokens than the limit, and those in use stay', () => {
  const tokens = new VerifiedTokens({ tokens: 100 });
  tokens.add(name(0), verified('{}'));
  for (let number = 1; number < 1000; number += 1) {
    assert.ok(tokens.get(name(0)), `the token is in use at ${number}`);
    tokens.add(name(number), verified('{}'));
    assert.ok(tokens.size <= 100);
  }
  assert.equal(tokens.size, 100);
  assert.equal(tokens.get(name(1)), undefined);
  // When all of them are in use, the oldest one leaves.
  for (let number = 0; number < 1000; number += 1) tokens.get(name(number));
  tokens.add(name(1000), verified('{}'));
  assert.equal(tokens.size, 100);
  assert.ok(tokens.get(name(1000)));
});

test('there are never more bytes than the limit', () => {
  const tokens = new VerifiedTokens({ bytes: 100_000 });
  for (let number = 0; number < 1000; number += 1) {
    tokens.add(name(number), verified('x'.repeat((number * 997) % 8000)));
    assert.ok(tokens.bytes <= 100_000);
    assert.ok(tokens.get(name(number)));
  }
  const { size, bytes } = tokens;
  tokens.add(name(1000), verified('x'.repeat(100_000)));
  assert.equal(tokens.get(name(1000)), undefined);
  assert.deepEqual([tokens.size, tokens.bytes], [size, bytes], 'what has no room takes none');
  tokens.retain([]);
  assert.deepEqual([tokens.size, tokens.bytes], [0, 0]);
});

test('a token is found by all of it, and a repeated one is there once', () => {
  const tokens = new VerifiedTokens({});
  tokens.add(name(1), verified('{"a":1}'));
  const { bytes } = tokens;
  tokens.add(name(1), verified('{"a":2}'));
  assert.deepEqual([tokens.size, tokens.bytes], [1, bytes]);
  assert.equal(tokens.get(name(1))?.text, '{"a":2}');
  for (const other of ['header.payload-2.signature-1', 'header.payload-1.signature-2', 'signature-1', '.signature-1', '', `${name(1)} `]) {
    assert.equal(tokens.get(other), undefined);
  }
  tokens.retain(new KeySet([KEY]).keys);
  assert.ok(tokens.get(name(1)));
  tokens.retain([fixedKey(SECRET, 'HS256')]);
  assert.equal(tokens.get(name(1)), undefined);
});
