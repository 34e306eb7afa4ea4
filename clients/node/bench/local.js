/** Measures the cost of a check and the memory of a revocation, without a node: `npm run bench`. */

import { randomUUID } from 'node:crypto';

import { readPage } from '../src/page.js';
import { Revocations } from '../src/revocations.js';

const LIVE = 1_000_000;
const CHECKS = 2_000_000;
const NOW = 1_800_000_000;

/** Returns milliseconds of processor time, which a busy machine affects little. */
const cpu = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const collect = /** @type {() => void} */ (globalThis.gc);
const memory = () => {
  collect();
  return process.memoryUsage().heapUsed;
};

const PAGE = 2000;

const empty = memory();
const revocations = new Revocations();
let took = 0;
for (let first = 0; first < LIVE; first += PAGE) {
  const text = page(first);
  const began = cpu();
  for (const entry of readPage(text).entries) revocations.add(entry);
  took += cpu() - began;
}
const bytes = (memory() - empty) / LIVE;

/** A page of the feed. @param {number} first */
function page(first) {
  const entries = Array.from({ length: PAGE }, (_, at) => ({
    issuer: 'adieu',
    kind: at % 2 ? 'token' : 'session',
    id: randomUUID(),
    lapses_at: NOW + 120 + Math.floor(((first + at) / LIVE) * 900),
  }));
  const cursor = `0f3a.${first + PAGE}`;
  const rest = { complete: false, from_start: false, age_ms: 0, pruned_through: 0, issuer: 'adieu', max_staleness_ms: 2000 };
  return JSON.stringify({ cursor, ...rest, entries });
}

const tokens = Array.from({ length: 4096 }, () =>
  // In the form in which `JSON.parse` returns the claims of a token.
  JSON.parse(
    JSON.stringify({
      issuer: 'adieu',
      tokenId: randomUUID(),
      session: randomUUID(),
      subject: randomUUID(),
      issuedAt: NOW,
      expiresAt: NOW + 900,
    }),
  ),
);
let revoked = 0;
const checking = cpu();
for (let number = 0; number < CHECKS; number += 1) {
  if (revocations.check(/** @type {import('../src/revocations.js').Facts} */ (tokens[number % tokens.length]))) revoked += 1;
}
const nanoseconds = ((cpu() - checking) / CHECKS) * 1e6;
if (revoked > 0) throw new Error('a random id is not revoked');

revocations.raisePrunedThrough(NOW + 5000);
let longest = 0;
for (let done = false; !done; ) {
  const step = cpu();
  done = revocations.forgetSome();
  longest = Math.max(longest, cpu() - step);
}

console.log(`| ${LIVE.toLocaleString('en')} live revocations | |`);
console.log('|---|---|');
console.log(`| a check of a live token (token, session, subject, everything) | ${nanoseconds.toFixed(0)} ns |`);
console.log(`| memory | ${bytes.toFixed(0)} bytes each |`);
console.log(`| reading and taking in all pages | ${took.toFixed(0)} ms |`);
console.log(`| forgetting them all: the longest step | ${longest.toFixed(1)} ms |`);
