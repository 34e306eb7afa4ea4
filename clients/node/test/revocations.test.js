import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Blocklist } from '../src/index.js';
import { writePage } from '../src/page-writer.js';
import { Revocations } from '../src/revocations.js';
import { serve } from './support/server.js';

const NOW = 1_800_000_000;

/** @param {Partial<import('../src/revocations.js').Facts>} [facts] */
const token = (facts) => ({
  issuer: 'adieu',
  tokenId: 't1',
  session: 's1',
  subject: 'jose',
  issuedAt: NOW,
  expiresAt: NOW + 900,
  ...facts,
});

/**
 * @param {Partial<import('../src/page.js').Entry>[]} entries
 */
function knowing(...entries) {
  const revocations = new Revocations();
  for (const entry of entries) add(revocations, entry);
  return revocations;
}

/**
 * @param {Revocations} revocations
 * @param {Partial<import('../src/page.js').Entry>} entry
 */
function add(revocations, entry) {
  revocations.add({ issuer: 'adieu', kind: 'token', id: 't1', issuedUntil: 0, lapsesAt: NOW + 1020, ...entry });
}

test('a revocation matches its target, of its issuer, and nothing else', () => {
  const revocations = knowing({ kind: 'token', id: 't1' }, { kind: 'session', id: 's2' });
  assert.equal(revocations.check(token()), 'token');
  assert.equal(revocations.check(token({ tokenId: 't2', session: 's2' })), 'session');
  assert.equal(revocations.check(token({ tokenId: 't2' })), undefined);
  assert.equal(revocations.check(token({ issuer: 'another' })), undefined);
  assert.equal(revocations.check(token({ tokenId: 's2' })), undefined);
  assert.equal(revocations.check(token({ tokenId: '__proto__' })), undefined);
});

test('a cut-off matches tokens issued in its second or before, and tokens without iat', () => {
  for (const kind of /** @type {const} */ (['subject', 'everything'])) {
    const revocations = knowing({ kind, id: kind === 'subject' ? 'jose' : '', issuedUntil: NOW });
    assert.equal(revocations.check(token({ issuedAt: NOW - 1 })), kind);
    assert.equal(revocations.check(token({ issuedAt: NOW })), kind);
    assert.equal(revocations.check(token({ issuedAt: NOW + 0.9 })), kind);
    assert.equal(revocations.check(token({ issuedAt: NOW + 1 })), undefined);
    assert.equal(revocations.check(token({ issuedAt: undefined })), kind);
  }
});

test('an earlier cut-off never weakens a later one, in any order of arrival', () => {
  for (const order of [[NOW, NOW - 100], [NOW - 100, NOW]]) {
    const revocations = knowing(...order.map((issuedUntil) => ({ kind: /** @type {const} */ ('subject'), id: 'jose', issuedUntil })));
    assert.equal(revocations.check(token({ issuedAt: NOW })), 'subject');
  }
});

test('revocations that have lapsed by the mark of the node are removed, whatever the clock says, and the others are kept', () => {
  const revocations = new Revocations();
  for (let number = 0; number < 20_000; number += 1) {
    add(revocations, { id: `old-${number}`, lapsesAt: NOW + (number % 600) });
    add(revocations, { id: `new-${number}`, lapsesAt: NOW + 5000 });
  }
  add(revocations, { kind: 'subject', id: 'jose', issuedUntil: NOW - 1, lapsesAt: NOW });
  add(revocations, { id: 'put-off', lapsesAt: NOW });
  add(revocations, { id: 'put-off', lapsesAt: NOW + 5000 });
  add(revocations, { issuer: 'gone', lapsesAt: NOW });

  revocations.raisePrunedThrough(NOW + 1000);
  let steps = 1;
  while (!revocations.forgetSome()) steps += 1;
  assert.ok(steps > 3, 'in steps, so that nobody waits for all of it');
  assert.equal(revocations.size, 20_001);
  const lives = { expiresAt: NOW + 4880 };
  assert.equal(revocations.check(token({ tokenId: 'new-7', ...lives })), 'token');
  assert.equal(revocations.check(token({ tokenId: 'put-off', ...lives })), 'token');
  assert.equal(revocations.check(token({ tokenId: 'old-7', ...lives })), undefined);
});

test('a token whose revocation may have been removed counts as expired', () => {
  const revocations = new Revocations();
  revocations.raisePrunedThrough(NOW);
  revocations.raisePrunedThrough(NOW - 500);
  assert.equal(revocations.check(token({ expiresAt: NOW - 120 })), 'forgotten');
  assert.equal(revocations.check(token({ expiresAt: NOW - 119 })), undefined);
});

test('a local revocation is kept until the feed brings it, and then for as long as the feed says', () => {
  const revocations = new Revocations();
  revocations.addOwn('token', 'adieu', 't1');
  revocations.addOwn('session', 'adieu', 's2');
  assert.equal(revocations.check(token()), 'token');
  assert.equal(revocations.check(token({ tokenId: 't2', session: 's2' })), 'session');
  assert.equal(revocations.check(token({ tokenId: 't2', issuer: 'another' })), undefined);

  add(revocations, { id: 't1' });
  assert.equal(revocations.check(token()), 'token');
  assert.equal(revocations.size, 2);
  revocations.addOwn('token', 'adieu', 't1');
  assert.equal(revocations.size, 2, 'the feed was faster');

  revocations.raisePrunedThrough(NOW + 1100);
  while (!revocations.forgetSome());
  assert.equal(revocations.check(token({ expiresAt: NOW + 2000 })), undefined);
});

test('a local revocation that the feed will not bring is not kept', () => {
  const revocations = new Revocations();
  revocations.raisePrunedThrough(NOW);
  revocations.addOwn('token', 'adieu', 'lapsed', NOW - 120);
  assert.equal(revocations.size, 0);
  assert.equal(revocations.check(token({ tokenId: 'lapsed', expiresAt: NOW - 120 })), 'forgotten');
  // The node prunes it before the next read.
  for (let number = 0; number < 100; number += 1) revocations.addOwn('token', 'adieu', `${number}`, NOW - 119 + number);
  revocations.addOwn('session', 'adieu', 's2');
  assert.equal(revocations.check(token({ tokenId: '99' })), 'token');
  assert.equal(revocations.size, 101);
  revocations.raisePrunedThrough(NOW + 90);
  while (!revocations.forgetSome());
  assert.equal(revocations.size, 11);
  assert.equal(revocations.check(token({ tokenId: '90', expiresAt: NOW - 29 })), 'token');
  assert.equal(revocations.check(token({ tokenId: '89', expiresAt: NOW - 30 })), 'forgotten');
});

test('the logout of tokens that expired long ago leaves nothing in memory', async (t) => {
  const now = Math.floor(Date.now() / 1000);
  const url = await serve(t, (request, response) => {
    if (request.method === 'POST') response.end('{}');
    else setTimeout(() => response.end(writePage([], { flags: 3, prunedThrough: now })), 20);
  });
  const blocklist = new Blocklist({ url, clientId: 'a', secret: 'b' });
  t.after(() => blocklist.close());
  await blocklist.ready();
  const expired = { iss: 'adieu', exp: now - 1000 };
  await blocklist.revoke({ ...expired, jti: 'by its exp' });
  await blocklist.revoke({ iss: 'adieu', jti: 'by keepUntil', keepUntil: now - 1000 });
  assert.equal(blocklist.status().revocations, 0);
  assert.equal(blocklist.isRevoked({ ...expired, jti: 'by its exp' }), true);
});

test('the names of the node are one issuer, whatever was revoked under the second before', () => {
  const revocations = knowing(
    { issuer: 'old', id: 't1' },
    { issuer: 'new', id: 't2' },
    { issuer: 'old', kind: 'subject', id: 'jose', issuedUntil: NOW - 5 },
    { issuer: 'new', kind: 'subject', id: 'jose', issuedUntil: NOW - 9 },
    { issuer: 'new', kind: 'claim', id: 'tenant\x1facme', issuedUntil: NOW - 9 },
  );
  const added = /** @type {string[]} */ ([]);
  revocations.onAdd = (kind, issuer) => void added.push(`${kind} ${issuer}`);
  revocations.nameNode('old');
  const unlike = { session: undefined, subject: undefined };
  assert.equal(revocations.check(token({ issuer: 'old', tokenId: 't2', ...unlike })), undefined);
  assert.equal(revocations.cutOff('new', 'jose'), NOW - 9);
  for (const name of ['new', 'old', 'new']) revocations.nameNode(name);
  assert.deepEqual(added, ['everything old', 'everything new']);
  for (const issuer of ['old', 'new']) {
    for (const tokenId of ['t1', 't2']) assert.equal(revocations.check(token({ issuer, tokenId, ...unlike })), 'token');
    assert.equal(revocations.check(token({ issuer, tokenId: 't3', session: undefined, issuedAt: NOW - 5 })), 'subject');
    assert.equal(revocations.check(token({ issuer, tokenId: 't3', ...unlike })), undefined);
    assert.equal(revocations.cutOff(issuer, 'jose'), NOW - 5);
    assert.equal(revocations.claimCutOff(issuer, 'tenant', 'acme'), NOW - 9);
  }
  assert.equal(revocations.check(token({ issuer: 'another', ...unlike })), undefined);
  // What is known under any name counts more than what may have been removed.
  revocations.raisePrunedThrough(NOW + 500);
  const expired = { ...unlike, expiresAt: NOW + 380 };
  assert.equal(revocations.check(token({ issuer: 'old', tokenId: 't2', ...expired })), 'token');
  assert.equal(revocations.check(token({ issuer: 'old', tokenId: 't3', ...expired })), 'forgotten');
  assert.equal(revocations.cutOff('another', 'jose'), 0);
});

test('an index without entries reads a mark', () => {
  const index = new Revocations();
  index.raisePrunedThrough(1_800_000_000);
  assert.equal(index.forgetSome(), true);
});
