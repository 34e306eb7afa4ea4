import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Freshness } from '../src/freshness.js';

/** Clocks that the test sets. */
function clocks() {
  const now = { monotonic: 1000, wall: 1_800_000_000_000 };
  const freshness = new Freshness(() => ({ ...now }));
  const pass = (/** @type {number} */ milliseconds) => {
    now.monotonic += milliseconds;
    now.wall += milliseconds;
  };
  return { now, freshness, pass };
}

test('a memory that was never complete is infinitely stale', () => {
  assert.equal(clocks().freshness.staleness, Infinity);
});

test('freshness is that of the moment before the read was sent, less the age of the node', () => {
  const { freshness, pass } = clocks();
  const asked = freshness.now();
  pass(300);
  freshness.completeAsOf(asked, 50);
  assert.equal(freshness.staleness, 350);
});

test('a response that proves less than the last one changes nothing', () => {
  const { freshness, pass } = clocks();
  freshness.completeAsOf(freshness.now(), 0);
  pass(100);
  freshness.completeAsOf(freshness.now(), 500);
  assert.equal(freshness.staleness, 100);
});

test('sleep, which the steady clock misses, shows on the wall clock', () => {
  const { now, freshness } = clocks();
  freshness.completeAsOf(freshness.now(), 0);
  now.wall += 60_000;
  assert.equal(freshness.staleness, 60_000);
});

test('a wall clock that is set back makes nothing look fresh', () => {
  const { now, freshness, pass } = clocks();
  freshness.completeAsOf(freshness.now(), 0);
  pass(5000);
  now.wall -= 3_600_000;
  assert.equal(freshness.staleness, 5000);
});

test('a wall clock that is set forward costs freshness until the next answer, and no longer', () => {
  const { now, freshness, pass } = clocks();
  freshness.completeAsOf(freshness.now(), 0);
  now.wall += 3_600_000;
  assert.equal(freshness.staleness, 3_600_000);
  const asked = freshness.now();
  pass(10);
  freshness.completeAsOf(asked, 0);
  assert.equal(freshness.staleness, 10);
});
