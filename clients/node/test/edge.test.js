/** The client for runtimes without Node's modules, in Node. `worker.test.js` runs it in workerd. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Blocklist, InvalidClaimsError, RevokedError, StaleError, TokenError, assertGood } from '../src/edge.js';
import { writePage } from '../src/page-writer.js';
import { Node, claimsOf, eventually } from './support/node.js';
import { Proxy } from './support/proxy.js';
import { serve } from './support/server.js';

const exp = Math.floor(Date.now() / 1000) + 600;
const VERIFIED = { protectedHeader: { typ: 'at+jwt' }, payload: { jti: 'x', exp } };

/** @typedef {import('../src/edge.js').Owner} Owner */

/** What an owner may answer, and the error that the worker throws; undefined if it accepts. */
const ANSWERS = /** @type {const} */ ([
  ['not revoked', async () => ({ revoked: false, validFor: 1000 }), undefined],
  ['revoked', async () => ({ revoked: true, validFor: 1000 }), RevokedError],
  ['revoked, as a stale memory knows', async () => ({ revoked: true, validFor: -1 }), RevokedError],
  ['not revoked, by a stale memory', async () => ({ revoked: false, validFor: -1 }), StaleError],
  ['not revoked, but the answer is late', () => later(250, { revoked: false, validFor: 200 }), StaleError],
  ['nothing', () => new Promise(() => {}), StaleError],
  ['nothing, and it fails', () => Promise.reject(new Error('the object was reset')), StaleError],
  ['undefined', async () => undefined, StaleError],
  ['something else', async () => ({ revoked: 'no', validFor: 1000 }), StaleError],
  ['not for how long', async () => ({ revoked: false }), StaleError],
  ['stale', async () => ({ code: 'ADIEU_STALE', message: 'stale' }), StaleError],
  ['expired long ago', async () => ({ code: 'ADIEU_TOKEN', message: 'expired' }), TokenError],
  ['invalid claims', async () => ({ code: 'ADIEU_CLAIMS', message: 'exp' }), InvalidClaimsError],
]);

for (const [what, verdict, error] of ANSWERS) {
  test(`an owner that answers ${what}`, async () => {
    const check = assertGood(/** @type {Owner} */ ({ verdict }), VERIFIED, { timeout: 400 });
    if (error === undefined) await check;
    else await assert.rejects(check, (thrown) => thrown instanceof error);
  });
}

test('another kind of token, and one from the future, are rejected', async () => {
  const owner = { verdict: async () => ({ revoked: false, validFor: 1000 }) };
  await assert.rejects(assertGood(owner, { ...VERIFIED, protectedHeader: { typ: 'rt+jwt' } }), /another kind/);
  await assert.rejects(assertGood(owner, { ...VERIFIED, payload: { ...VERIFIED.payload, iat: exp } }), /from the future/);
});

test('it reads when it is asked, once for all, and nothing otherwise', async (t) => {
  const node = await Node.start(t, { max_staleness: '20s' });
  const proxy = await Proxy.start(t, node.port);
  const maxStaleness = 20_000;
  let passed = 0;
  t.mock.method(Date, 'now', ((now) => () => now() + passed)(Date.now));
  const blocklist = new Blocklist({ url: proxy.url, clientId: 'edge', secret: node.addClient('edge'), maxStaleness });
  t.after(() => blocklist.close());
  const { access } = await node.logIn('jose');
  const claims = claimsOf(access);
  await later(500);
  assert.equal(proxy.answers, 0);
  const all = (/** @type {number} */ count) => Promise.all(Array.from({ length: count }, () => blocklist.verdict(claims)));
  for (const verdict of await all(50)) assert.ok('revoked' in verdict && !verdict.revoked && verdict.validFor <= maxStaleness);
  assert.equal(proxy.answers, 1);
  await all(50);
  assert.equal(proxy.answers, 1);
  passed += maxStaleness + 1;
  await later(500);
  assert.equal(proxy.answers, 1);
  await all(50);
  assert.equal(proxy.answers, 2);

  await blocklist.revoke(claims);
  assert.deepEqual((await all(1)).map((verdict) => 'revoked' in verdict && verdict.revoked), [true]);
  proxy.mode = 'cut';
  passed += maxStaleness + 1;
  assert.deepEqual(await blocklist.verdict({ jti: 'another', exp }).then((verdict) => 'code' in verdict && verdict.code), 'ADIEU_STALE');
  await blocklist.ready();
  const another = new Blocklist({ url: proxy.url, clientId: 'edge', secret: 'x', onEvent() {} });
  await assert.rejects(another.ready(), { code: 'ADIEU_UNREACHABLE' });
});

test('a token whose revocation may have been removed has expired, and one whose revocation is known is revoked', async (t) => {
  /** @type {import('../src/page.js').Entry} */
  const known = { issuer: 'adieu', kind: 'token', id: 'known', issuedUntil: 0, lapsesAt: exp + 9000 };
  const url = await serve(t, (_, response) => response.end(writePage([known], { flags: 3, prunedThrough: exp + 1000 })));
  const blocklist = new Blocklist({ url, clientId: 'edge', secret: 'x' });
  t.after(() => blocklist.close());
  await assert.rejects(assertGood(blocklist, { ...VERIFIED, payload: { jti: 'known', exp } }), RevokedError);
  await assert.rejects(assertGood(blocklist, VERIFIED), { code: 'ADIEU_TOKEN', reason: 'token_expired' });
});

test('a slow network is waited for, beyond what one request waits', async (t) => {
  const node = await Node.start(t, { max_staleness: '20s' });
  const proxy = await Proxy.start(t, node.port);
  const secret = node.addClient('edge');
  const blocklist = new Blocklist({ url: proxy.url, clientId: 'edge', secret, maxStaleness: 4000, onEvent() {} });
  t.after(() => blocklist.close());
  proxy.delay = 1500;
  const claims = claimsOf((await node.logIn('jose')).access);
  await eventually(async () => 'revoked' in (await blocklist.verdict(claims)), 'it is fresh');
});

/** @template T @param {number} milliseconds @param {T} [value] @returns {Promise<T>} */
function later(milliseconds, value) {
  return new Promise((resolve) => setTimeout(() => resolve(/** @type {T} */ (value)), milliseconds));
}
