import assert from 'node:assert/strict';
import { test } from 'node:test';

import { InvalidClaimsError, NodeError, RevokedError, tokenIdOf } from '../src/index.js';
import { Node, claimsOf, eventually, follow, verdict } from './support/node.js';

test('a token that is logged out at the node is rejected here, and no other token is', async (t) => {
  const node = await Node.start(t);
  const { blocklist } = await follow(t, node);
  const [jose, ana] = [await node.logIn('jose'), await node.logIn('ana')];
  assert.equal(verdict(blocklist, jose.access), 'accepted');

  await node.logOut(jose.access);
  await eventually(() => verdict(blocklist, jose.access) === 'revoked', 'the logout is known');
  assert.throws(() => blocklist.assertNotRevoked(claimsOf(jose.access)), RevokedError);
  assert.equal(verdict(blocklist, ana.access), 'accepted');
});

test('revocations from before the start are known when the blocklist is ready', async (t) => {
  const node = await Node.start(t);
  const jose = await node.logIn('jose');
  await node.logOut(jose.access);
  const { blocklist } = await follow(t, node);
  assert.equal(verdict(blocklist, jose.access), 'revoked');
});

test('a token that is revoked here is rejected at once here, at the node, and by another service', async (t) => {
  const node = await Node.start(t);
  const [{ blocklist }, { blocklist: other }] = [await follow(t, node), await follow(t, node)];
  const jose = await node.logIn('jose');

  const { message } = await blocklist.revoke(claimsOf(jose.access));
  assert.equal(message, 'Revoked.');
  assert.equal(verdict(blocklist, jose.access), 'revoked');
  await assert.rejects(node.post('/refresh', { token: jose.refresh }), /token_revoked/);
  assert.equal((await fetch(`${node.url}/verify`, { headers: { authorization: `Bearer ${jose.access}` } })).status, 401);
  await eventually(() => verdict(other, jose.access) === 'revoked', 'the other service knows');

  await blocklist.revoke(claimsOf(jose.access));
  assert.equal(blocklist.status().revocations, 2, 'a second time changes nothing: the token and its session');
});

test('a session and a subject are ended as a whole', async (t) => {
  const node = await Node.start(t);
  const { blocklist } = await follow(t, node);
  const [phone, laptop] = [await node.logIn('jose'), await node.logIn('jose')];

  await blocklist.revokeSession(claimsOf(phone.access).sid);
  assert.equal(verdict(blocklist, phone.access), 'revoked');
  assert.equal(verdict(blocklist, laptop.access), 'accepted');
  await assert.rejects(node.post('/refresh', { token: phone.refresh }), /token_revoked/);

  await blocklist.revokeSubject(claimsOf(laptop.access).sub);
  assert.equal(verdict(blocklist, laptop.access), 'revoked');
});

test('tokens with the same id are distinguished by their issuer', async (t) => {
  const node = await Node.start(t);
  const { blocklist } = await follow(t, node);
  const { blocklist: other } = await follow(t, node, { issuer: 'https://auth.example' });
  const exp = Math.floor(Date.now() / 1000) + 3600;
  const theirs = { iss: 'https://auth.example', jti: 'same', exp };

  await blocklist.revoke(theirs);
  assert.equal(blocklist.isRevoked(theirs), true);
  assert.equal(blocklist.isRevoked({ ...theirs, iss: 'https://another.example' }), false);
  assert.equal(blocklist.isRevoked({ jti: 'same', exp }), false, 'that is one of the node');
  await eventually(() => other.isRevoked({ jti: 'same', exp }), 'it is also known by the issuer that is set');

  await blocklist.revokeSubject('jose', { iss: 'https://auth.example' });
  assert.equal(blocklist.isRevoked({ iss: 'https://auth.example', sub: 'jose', jti: 'x', iat: exp - 3601, exp }), true);
  assert.equal(blocklist.isRevoked({ iss: 'https://auth.example', sub: 'jose', jti: 'x', iat: exp - 3500, exp }), false);
});

test('a token without jti is revoked by its signing input, and one without a known exp until keepUntil', async (t) => {
  const node = await Node.start(t);
  const { blocklist } = await follow(t, node);
  const { blocklist: other } = await follow(t, node);
  const exp = Math.floor(Date.now() / 1000) + 3600;
  const token = `e30.${Buffer.from(JSON.stringify({ exp })).toString('base64url')}.c2ln`;

  await assert.rejects(blocklist.revoke({ exp }), TypeError);
  assert.throws(() => blocklist.isRevoked({ exp }), /give it as `token`/);
  await blocklist.revoke({ exp }, { token });
  assert.equal(blocklist.isRevoked({ exp }, token), true);
  assert.equal(blocklist.isRevoked({ exp }, `${token.slice(0, -5)}.b3RoZXI`), true, 'the signature does not matter');
  assert.equal(blocklist.isRevoked({ jti: tokenIdOf(token), exp }), true);
  await blocklist.revoke({ jti: 'no-exp', keepUntil: exp });
  await blocklist.revoke({ jti: 'neither' });
  await blocklist.revoke({ jti: 'fraction', exp: exp + 0.5 });
  for (const jti of ['no-exp', 'neither', 'fraction']) {
    assert.equal(blocklist.isRevoked({ jti, exp: jti === 'fraction' ? exp + 0.5 : exp }), true);
    await eventually(() => other.isRevoked({ jti, exp }), `${jti} is known elsewhere`);
  }
});

test('invalid claims are an error, not an acceptance', async (t) => {
  const node = await Node.start(t);
  const { blocklist } = await follow(t, node);
  const exp = Math.floor(Date.now() / 1000) + 3600;
  const good = { jti: 'x', exp };
  for (const claims of [
    undefined,
    null,
    'claims',
    {},
    { jti: 'x' },
    { ...good, exp: '1' },
    { ...good, exp: NaN },
    { ...good, exp: exp * 1000 },
    { ...good, iat: 'now' },
    { ...good, iat: -1 },
    { ...good, jti: {} },
    { ...good, jti: 17 },
    { ...good, jti: '' },
    { ...good, jti: 'x'.repeat(513) },
    { ...good, jti: '☃'.repeat(171) },
    { ...good, sub: 1.5 },
    { ...good, sub: 2 ** 53 },
    { ...good, sub: true },
    { ...good, sid: [] },
    { ...good, sid: 7 },
    { ...good, sid: null },
    { ...good, jti: null },
    { ...good, iat: null },
    { ...good, iss: '' },
  ]) {
    assert.throws(() => blocklist.isRevoked(/** @type {any} */ (claims)), InvalidClaimsError, JSON.stringify(claims));
  }
  assert.ok(new InvalidClaimsError() instanceof TypeError);
  assert.equal(blocklist.isRevoked({ ...good, jti: '☃'.repeat(170) }), false);
});

test('a number and its digits are one subject', async (t) => {
  const node = await Node.start(t);
  const { blocklist } = await follow(t, node);
  const exp = Math.floor(Date.now() / 1000) + 3600;
  await blocklist.revokeSubject(4711);
  for (const sub of [4711, '4711']) assert.equal(blocklist.isRevoked({ jti: 'x', sub, iat: 1, exp }), true);
  assert.equal(blocklist.isRevoked({ jti: 'x', sub: -4711, iat: 1, exp }), false);
});

test('a token that is issued after everything of its subject was revoked is good', async (t) => {
  const node = await Node.start(t);
  const { blocklist } = await follow(t, node);
  for (const iss of [undefined, 'https://auth.example']) {
    for (let number = 0; number < 3; number += 1) {
      const sub = `jose-${number}`;
      await blocklist.revokeSubject(sub, { timeout: 60_000, ...(iss && { iss }) });
      const iat = Math.floor(Date.now() / 1000);
      assert.equal(blocklist.isRevoked({ iss, jti: 'x', sub, iat, exp: iat + 900 }), false, 'it was born revoked');
    }
  }
});

test('of many concurrent calls that use a token up one succeeds, and none after its logout', async (t) => {
  const node = await Node.start(t);
  const services = [];
  for (let number = 0; number < 4; number += 1) services.push((await follow(t, node)).blocklist);
  const [first, second] = services;
  assert.ok(first && second);
  const exp = Math.floor(Date.now() / 1000) + 3600;
  for (let number = 0; number < 5; number += 1) {
    const claims = { jti: `refresh-${number}`, sid: `session-${number}`, type: 'refresh', exp };
    /** @type {boolean[]} */
    const outcomes = await Promise.all([...services, ...services].map((service) => service.revokeOnce(claims)));
    assert.equal(outcomes.filter(Boolean).length, 1);
    assert.equal(first.isRevoked(claims), true);
    assert.equal(first.isRevoked({ ...claims, jti: 'x' }), false, 'its session goes on');
    assert.equal(await first.revokeOnce(claims), false);
  }
  await first.revoke({ jti: 'access', sid: 'over', exp });
  assert.equal(await second.revokeOnce({ jti: 'refresh', sid: 'over', exp }), false, 'also when nobody has told this one yet');
});

test('ending a session that the node does not know revokes all its tokens everywhere', async (t) => {
  const node = await Node.start(t);
  const [{ blocklist }, { blocklist: other }] = [await follow(t, node, { lifetime: 40 * 86_400_000 }), await follow(t, node)];
  const exp = Math.floor(Date.now() / 1000) + 3600;
  const tokens = ['access', 'refresh'].map((type) => ({ jti: type, sid: 'of the application', type, exp }));
  await blocklist.revoke({ jti: 'another', sid: 'of the application', exp });
  assert.deepEqual(tokens.map((token) => blocklist.isRevoked(token)), [true, true]);
  await eventually(() => tokens.every((token) => other.isRevoked(token)), 'the other one knows');
});

test('after the node was killed and restarted, nothing is un-revoked and following continues', async (t) => {
  const node = await Node.start(t);
  const { blocklist, proxy } = await follow(t, node);
  const [first, second] = [await node.logIn('jose'), await node.logIn('ana')];
  await node.logOut(first.access);
  await eventually(() => verdict(blocklist, first.access) === 'revoked', 'the logout is known');

  await node.restart();
  proxy.target = node.port;
  assert.equal(verdict(blocklist, first.access), 'revoked');
  await node.logOut(second.access);
  await eventually(() => verdict(blocklist, second.access) === 'revoked', 'following goes on');
  await eventually(() => blocklist.status().fresh, 'it is fresh again');
  assert.equal(verdict(blocklist, first.access), 'revoked');
});

test('a node that gets another name un-revokes nothing, and what it revokes then counts for the same tokens', async (t) => {
  const node = await Node.start(t, { issuer: 'old' });
  const { blocklist, proxy } = await follow(t, node);
  const exp = Math.floor(Date.now() / 1000) + 900;
  // Without `iss`, so of the node.
  const of = (/** @type {string} */ jti) => ({ jti, sub: `user of ${jti}`, sid: `session of ${jti}`, iat: exp - 910, exp });
  const before = [of('token'), of('subject')];
  await blocklist.revoke({ jti: 'token', exp });
  await blocklist.revokeSubject('user of subject');
  const later = ['by id', 'by session', 'by subject'].map(of);
  const called = new Set();
  for (const claims of later) blocklist.onRevoked(claims, () => called.add(claims.jti));
  const spent = of('spent');
  assert.equal(await blocklist.revokeOnce(spent), true);

  await node.restart({ issuer: 'new' });
  proxy.target = node.port;
  await eventually(() => blocklist.status().issuer === 'new', 'the new name is known');
  for (const claims of [...before, spent]) {
    for (const iss of [undefined, 'old', 'new']) assert.equal(blocklist.isRevoked({ ...claims, iss }), true, `${claims.jti} of ${iss}`);
    assert.equal(blocklist.isRevoked({ ...claims, iss: 'another' }), false);
  }
  assert.equal(await blocklist.revokeOnce(spent), false);
  for (const claims of later) assert.equal(blocklist.isRevoked(claims), false);
  await blocklist.revoke({ jti: 'by id', exp });
  await blocklist.revokeSession('session of by session');
  await blocklist.revokeSubject('user of by subject');
  for (const claims of later) {
    for (const iss of [undefined, 'old', 'new']) assert.equal(blocklist.isRevoked({ ...claims, iss }), true, `${claims.jti} of ${iss}`);
  }
  await eventually(() => called.size === later.length, 'the callbacks come');
});

test('what a node revokes under its new name counts for tokens with the old one, also where the issuer is set', async (t) => {
  const node = await Node.start(t, { issuer: 'old' });
  const { blocklist, proxy } = await follow(t, node, { issuer: 'old' });
  const exp = Math.floor(Date.now() / 1000) + 900;
  const claims = { iss: 'old', jti: 'token', sub: 'jose', sid: 'session', iat: exp - 910, exp };
  await node.restart({ issuer: 'new' });
  proxy.target = node.port;
  const { blocklist: other } = await follow(t, node);
  await other.revokeSession('session');
  await eventually(() => blocklist.isRevoked(claims), 'the session has ended');
});

test('a node that was restored from a backup un-revokes nothing here, and that is reported', async (t) => {
  const node = await Node.start(t);
  const [clientId, secret] = ['service', node.addClient('service')];
  await node.backUp();
  const { blocklist, proxy, events } = await follow(t, node, { clientId, secret });
  const jose = await node.logIn('jose');
  await node.logOut(jose.access);
  await eventually(() => verdict(blocklist, jose.access) === 'revoked', 'the logout is known');

  await node.restore();
  proxy.target = node.port;
  await eventually(() => events.some(({ type }) => type === 'log_changed'), 'it is reported');
  await eventually(() => blocklist.status().fresh, 'it is followed');
  assert.equal(verdict(blocklist, jose.access), 'revoked');
});

test('a revocation that the node did not confirm is an error that answers 503', async (t) => {
  const node = await Node.start(t);
  const { blocklist, proxy } = await follow(t, node);
  const jose = await node.logIn('jose');
  proxy.mode = 'cut';
  await assert.rejects(blocklist.revoke(claimsOf(jose.access), { timeout: 300 }), (error) => {
    assert.ok(error instanceof NodeError);
    assert.equal(error.status, 503);
    assert.equal(error.headers['Retry-After'], '1');
    return true;
  });
});

test('a node that is away for a moment does not fail a revocation', async (t) => {
  const node = await Node.start(t);
  const { blocklist, proxy } = await follow(t, node);
  const jose = await node.logIn('jose');
  proxy.mode = 'cut';
  const revoked = blocklist.revoke(claimsOf(jose.access), { timeout: 30_000 });
  await eventually(() => proxy.connections > 3, 'it has been tried');
  proxy.mode = 'pass';
  await revoked;
  assert.equal(verdict(blocklist, jose.access), 'revoked');
});
