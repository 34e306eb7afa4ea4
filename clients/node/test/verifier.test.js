/** Token in, claims out: signature, claims, revocation and staleness in one call that never meets the network. */

import assert from 'node:assert/strict';
import { createSecretKey } from 'node:crypto';
import { test } from 'node:test';
import { inspect } from 'node:util';

import { Blocklist, InvalidClaimsError, NodeError, RevokedError, StaleError, TokenError, Verifier } from '../src/index.js';
import { writePage } from '../src/page-writer.js';
import { Node, eventually, follow } from './support/node.js';
import { serve } from './support/server.js';
import { ACCESS, SECRET, claims, hmac, keyPair, token } from './support/tokens.js';

/** @typedef {import('../src/index.js').SharedVerifierOptions} Options */

/** Settings for tokens of another issuer. */
const SHOP = { issuer: 'shop', key: SECRET, algorithm: 'HS256' };

/** @param {import('node:test').TestContext} t @param {Partial<Options>} [options] */
async function make(t, options = {}) {
  const node = await Node.start(t);
  const { blocklist, proxy } = await follow(t, node, { issuer: options.issuer ?? 'adieu' });
  const verifier = new Verifier({ blocklist, issuer: 'adieu', ...options });
  t.after(() => verifier.close());
  await verifier.ready();
  return { node, verifier, blocklist, proxy };
}

/** @param {string} reason */
const rejectedAs = (reason) => (/** @type {unknown} */ error) => error instanceof TokenError && error.reason === reason;

test('a token of the node is good until its logout, with all its claims', async (t) => {
  const node = await Node.start(t);
  const { access, refresh } = await node.logIn('jose');
  const verifier = new Verifier({ url: node.url, clientId: 'shop', secret: node.addClient('shop'), issuer: 'adieu' });
  t.after(() => verifier.close());
  assert.equal(verifier.isReady, false);
  assert.throws(() => verifier.verify(access), StaleError);
  await verifier.ready();
  assert.ok(verifier.isReady);
  const found = verifier.verify(access);
  assert.deepEqual(found, JSON.parse(Buffer.from(access.split('.')[1] ?? '', 'base64url').toString()));
  assert.equal(found.fresh, true);
  assert.throws(() => verifier.verify(refresh), InvalidClaimsError);
  assert.equal(verifier.verify(refresh, { type: 'refresh' }).sid, found.sid);
  assert.equal(verifier.verify(refresh, { type: null }).sid, found.sid);
  const again = await node.refresh(refresh);
  assert.equal(verifier.verify(again.access).fresh, false);

  await verifier.blocklist.revoke(found);
  for (const revoked of [access, again.access]) assert.throws(() => verifier.verify(revoked), RevokedError);
  // It is revoked, whatever type was expected.
  assert.throws(() => verifier.verify(again.refresh), RevokedError);
  assert.ok(!inspect(verifier, { depth: 9, showHidden: true }).includes(SECRET));
});

test('a token of the node is good when a new key has signed it, as soon as the keys have been read again', async (t) => {
  const { node, verifier } = await make(t, { cache: {} });
  const { access: before } = await node.logIn('jose');
  verifier.verify(before);
  node.command('key', 'rotate', '--after', '0s');
  const kid = (/** @type {string} */ access) => JSON.parse(Buffer.from(access.split('.')[0] ?? '', 'base64url').toString()).kid;
  let access = '';
  await eventually(async () => {
    ({ access } = await node.logIn('jose'));
    return kid(access) !== kid(before);
  }, 'the new key signs');
  assert.throws(() => verifier.verify(access), /unknown key/);
  await eventually(() => verifier.verify(access), 'the new key is known');
  verifier.verify(before);
});

test('each fault has its code and reason', async (t) => {
  const { verifier } = await make(t, SHOP);
  const now = Math.floor(Date.now() / 1000);
  const sign = (/** @type {Record<string, unknown>} */ of) => token(hmac(), ACCESS, claims(of));
  assert.deepEqual(verifier.verify(sign({ nested: { a: [1, null] } })).nested, { a: [1, null] });
  for (const [input, reason, body] of /** @type {[unknown, string, unknown][]} */ ([
    [undefined, 'authorization_required', { description: 'Request does not contain an access token.', error: 'authorization_required' }],
    [sign({ exp: now }), 'token_expired', { message: 'The token has expired.', error: 'token_expired' }],
    [sign({ nbf: now + 100 }), 'token_not_yet_valid', { message: 'The token is not valid yet.', error: 'token_not_yet_valid' }],
    [sign({ iat: now + 100 }), 'token_not_yet_valid', { message: 'The token is not valid yet.', error: 'token_not_yet_valid' }],
    ['a.b.c', 'invalid_token', { message: 'Signature verification failed.', error: 'invalid_token' }],
  ])) {
    assert.throws(() => verifier.verify(input), (error) => {
      assert.ok(error instanceof TokenError);
      const { code, status, headers } = error;
      assert.deepEqual([code, error.reason, status, error.body], ['ADIEU_TOKEN', reason, 401, body]);
      assert.match(String(headers['WWW-Authenticate']), /^Bearer/);
      return true;
    });
  }
  for (const wrong of [/** @type {any} */ ('identity'), 7, ['access']]) assert.throws(() => verifier.verify(sign({}), { type: wrong }), { code: 'ADIEU_USAGE' });
  assert.throws(() => verifier.verify(sign({}), { audience: /** @type {any} */ ('shop') }), { code: 'ADIEU_USAGE' });
});

test('a token that names a key is not for a fixed secret, as at a node', async (t) => {
  const { verifier } = await make(t, SHOP);
  verifier.verify(token(hmac(), ACCESS, claims()));
  assert.throws(() => verifier.verify(token(hmac(), { ...ACCESS, kid: 'any' }, claims())), /unknown key/);
});

test('a token is for one of the audiences', async (t) => {
  const { verifier } = await make(t, { ...SHOP, audience: ['us', 'all'], cache: {} });
  const sign = (/** @type {unknown} */ aud) => token(hmac(), ACCESS, claims({ aud }));
  for (const aud of ['us', ['them', 'us'], ['all']]) assert.deepEqual(verifier.verify(sign(aud)).aud, aud);
  for (const aud of [undefined, 'them', [], ['them', 'US']]) assert.throws(() => verifier.verify(sign(aud)), InvalidClaimsError);
  const ours = sign('us');
  verifier.verify(ours);
  assert.throws(() => verifier.verify(ours, { audience: ['them'] }), InvalidClaimsError);
  assert.throws(() => verifier.verify(ours, { audience: [] }), InvalidClaimsError);
  verifier.verify(sign('them'), { audience: ['them'] });
});

test('the leeway is the accepted difference between the clocks', async (t) => {
  const { verifier, blocklist } = await make(t, { ...SHOP, leeway: 60 });
  const now = Math.floor(Date.now() / 1000);
  for (const good of [{ exp: now - 20 }, { nbf: now + 50 }, { iat: now + 50 }]) verifier.verify(token(hmac(), ACCESS, claims(good)));
  assert.throws(() => verifier.verify(token(hmac(), ACCESS, claims({ exp: now - 60 }))), rejectedAs('token_expired'));
  assert.throws(() => verifier.verify(token(hmac(), ACCESS, claims({ nbf: now + 600 }))), rejectedAs('token_not_yet_valid'));
  assert.throws(() => new Verifier({ blocklist, ...SHOP, leeway: 61 }), { code: 'ADIEU_USAGE' });
});

test('a token that lives too long is rejected', async (t) => {
  const { verifier, blocklist } = await make(t, { ...SHOP, maxLifetime: 600, cache: {} });
  const now = Math.floor(Date.now() / 1000);
  for (const [times, code] of /** @type {[Record<string, unknown>, string | undefined][]} */ ([
    [{ iat: now - 500, exp: now + 100 }, undefined],
    [{ iat: now - 500, exp: now + 101 }, 'invalid_token'],
    [{ iat: now - 500.9, exp: now + 100 }, 'invalid_token'],
    // What is wrong for ever comes before what time changes.
    [{ iat: now + 100, exp: now + 701 }, 'invalid_token'],
    [{ iat: now + 100, exp: now + 700 }, 'token_not_yet_valid'],
    [{ iat: undefined, exp: now + 500 }, undefined],
    [{ iat: undefined, exp: now + 700 }, 'invalid_token'],
  ])) {
    const signed = token(hmac(), ACCESS, claims(times));
    if (code === undefined) verifier.verify(signed);
    else assert.throws(() => verifier.verify(signed), code === 'invalid_token' ? InvalidClaimsError : rejectedAs(code), JSON.stringify(times));
  }
  // Without a limit, any.
  new Verifier({ blocklist, ...SHOP }).verify(token(hmac(), ACCESS, claims({ iat: now, exp: now + 1e9 })));
});

test('a fraction of the leeway is a whole second', async (t) => {
  const { verifier } = await make(t, { ...SHOP, leeway: 9.1 });
  const now = Math.floor(Date.now() / 1000);
  verifier.verify(token(hmac(), ACCESS, claims({ nbf: now + 10 })));
});

test('a token has at most as many bytes as the setting says', async (t) => {
  const { verifier, blocklist } = await make(t, SHOP);
  const of = (/** @type {number} */ length) => token(hmac(), ACCESS, claims({ filler: 'x'.repeat(length) }));
  const [good, long] = [of(5_000), of(9_000)];
  verifier.verify(good);
  assert.throws(() => verifier.verify(long), /too long/);
  const another = new Verifier({ blocklist, ...SHOP, maxTokenBytes: long.length });
  assert.equal(/** @type {string} */ (another.verify(long).filler).length, 9_000);
  assert.throws(() => another.verify(`${long}=`), /too long/);
  assert.throws(() => new Verifier({ blocklist, ...SHOP, maxTokenBytes: good.length - 1 }).verify(good), /too long/);
  // What was longest changes nothing for others.
  verifier.verify(good);
});

test('a token whose revocation may have been removed has expired, and one whose revocation is known is revoked', async (t) => {
  const now = Math.floor(Date.now() / 1000);
  const header = { flags: 3, prunedThrough: now + 300 };
  const session = /** @type {const} */ ({ issuer: 'shop', kind: 'session', id: 's', issuedUntil: 0, lapsesAt: now + 301 });
  const url = await serve(t, (_request, response) => setTimeout(() => response.end(writePage([session], header)), 20));
  const verifier = new Verifier({ url, clientId: 'a', secret: 'b', ...SHOP });
  t.after(() => verifier.close());
  await verifier.ready();
  const of = (/** @type {Record<string, unknown>} */ given) => token(hmac(), ACCESS, claims(given));
  verifier.verify(of({ exp: now + 181 }));
  assert.throws(() => verifier.verify(of({ exp: now + 180 })), rejectedAs('token_expired'));
  assert.throws(() => verifier.verify(of({ exp: now + 180, sid: 's' })), RevokedError);
});

test('tokens without iss are of one issuer, for the verifier and for its blocklist', async (t) => {
  const node = await Node.start(t);
  const { blocklist } = await follow(t, node);
  const missing = token(hmac(), ACCESS, claims({ iss: undefined }));
  for (const profile of /** @type {const} */ (['plain', { missingIssuer: true }])) {
    assert.throws(() => new Verifier({ blocklist, ...SHOP, profile }), { code: 'ADIEU_USAGE' });
    new Verifier({ blocklist, ...SHOP, issuer: 'adieu', profile }).verify(missing);
  }
  new Verifier({ blocklist, ...SHOP }).verify(token(hmac(), ACCESS, claims()));
  // The node has not been read yet.
  const unread = new Blocklist({ url: node.url, clientId: 'late', secret: node.addClient('late') });
  t.after(() => unread.close());
  const verifier = new Verifier({ blocklist: unread, ...SHOP, profile: 'plain' });
  await unread.ready();
  assert.throws(() => verifier.verify(missing), { code: 'ADIEU_USAGE' });
});

test('a token without iss and jti can be revoked', async (t) => {
  const { verifier } = await make(t, { ...SHOP, profile: 'plain' });
  const sign = () => token(hmac(), {}, claims({ iss: undefined, jti: undefined, nonce: Math.random() }));
  const [one, other] = [sign(), sign()];
  await verifier.blocklist.revoke(verifier.verify(one), { token: one });
  assert.throws(() => verifier.verify(one), RevokedError);
  verifier.verify(other);
});

test('an application can test without a server, with a key of its own', async (t) => {
  const blocklist = await Blocklist.inMemory({ issuer: 'shop' });
  t.after(() => blocklist.close());
  const verifier = new Verifier({ blocklist, ...SHOP });
  assert.ok(verifier.isReady);
  const good = token(hmac(), ACCESS, claims());
  await blocklist.revoke(verifier.verify(good));
  assert.throws(() => verifier.verify(good), RevokedError);
  // It publishes no keys.
  assert.throws(() => new Verifier({ blocklist, issuer: 'adieu' }), { code: 'ADIEU_USAGE' });
});

test('nothing is accepted when the state is stale, remembered or not', async (t) => {
  const node = await Node.start(t);
  const { blocklist, proxy } = await follow(t, node, { issuer: 'shop', maxStaleness: 2_000 });
  const verifier = new Verifier({ blocklist, ...SHOP, cache: {} });
  const good = token(hmac(), ACCESS, claims());
  verifier.verify(good);
  const ofNode = new Verifier({ blocklist, issuer: 'adieu', onEvent() {} });
  t.after(() => ofNode.close());
  await ofNode.ready();
  const unknown = token(keyPair('EdDSA'), { ...ACCESS, kid: 'another' }, claims({ iss: 'adieu' }));
  assert.throws(() => ofNode.verify(unknown), /unknown key/);
  proxy.mode = 'cut';
  await eventually(() => !verifier.isReady, 'the state is stale');
  for (const input of [good, token(hmac(), ACCESS, claims())]) assert.throws(() => verifier.verify(input), StaleError);
  assert.throws(() => verifier.verify(token(hmac(), ACCESS, claims({ exp: 1 }))), rejectedAs('token_expired'));
  // The keys may be as old as the rest.
  assert.throws(() => ofNode.verify(unknown), StaleError);
  proxy.mode = 'pass';
  await eventually(() => verifier.isReady, 'the state is recent');
  verifier.verify(good);
});

test('a remembered token is checked for revocation and time in each call', async (t) => {
  const { verifier } = await make(t, { ...SHOP, cache: {} });
  const good = token(hmac(), ACCESS, claims({ nested: { roles: ['a'] } }));
  for (let time = 0; time < 3; time += 1) {
    const found = verifier.verify(good);
    assert.deepEqual(found.nested, { roles: ['a'] });
    // What the caller does to its claims is not seen in the next call.
    found.nested = { roles: ['admin'] };
    found.sub = 'somebody';
    assert.equal(verifier.verify(good).sub, 'jose');
  }
  const refresh = token(hmac(), { typ: 'rt+jwt' }, claims());
  verifier.verify(refresh, { type: 'refresh' });
  assert.throws(() => verifier.verify(refresh), InvalidClaimsError);

  const short = token(hmac(), ACCESS, claims({ exp: Math.floor(Date.now() / 1000) + 2 }));
  verifier.verify(short);
  await eventually(() => assert.throws(() => verifier.verify(short), rejectedAs('token_expired')) === undefined, 'it expires');

  await verifier.blocklist.revoke(verifier.verify(good));
  assert.throws(() => verifier.verify(good), RevokedError);
  await verifier.blocklist.revokeSubject('jose', { iss: 'shop' });
  assert.throws(() => verifier.verify(refresh, { type: 'refresh' }), RevokedError);
});

test('settings that cannot be are an error when the verifier is made', async (t) => {
  const { blocklist } = await make(t, SHOP);
  const { public: rsa } = keyPair('RS256');
  const pem = rsa.export({ type: 'spki', format: 'pem' });
  for (const wrong of /** @type {Record<string, any>[]} */ ([
    { issuer: undefined },
    { issuer: '' },
    { audience: 'shop' },
    { audience: [7] },
    { leeway: -1 },
    { leeway: NaN },
    { maxLifetime: 0 },
    { maxLifetime: Infinity },
    { maxLifetime: '600' },
    { leeway: '1' },
    { maxTokenBytes: 0 },
    { maxTokenBytes: 1.5 },
    { maxTokenBytes: '8192' },
    { issuer: 'adieu', profile: 'plain' },
    { profile: 'any' },
    { profile: 'toString' },
    { profile: { missingAnything: true } },
    { key: SECRET, algorithm: undefined },
    { key: SECRET, algorithm: 'none' },
    { key: 'short' },
    { key: SECRET.slice(0, 63), algorithm: 'HS512' },
    { key: 7 },
    { key: {} },
    { key: SECRET, algorithm: 'RS256' },
    { key: pem, algorithm: 'HS256' },
    { key: `# of the shop\n${pem}`, algorithm: 'HS256' },
    { key: createSecretKey(Buffer.from(pem)), algorithm: 'HS256' },
    { key: rsa, algorithm: 'HS256' },
    { key: rsa, algorithm: 'ES256' },
    { key: keyPair('ES384').public, algorithm: 'ES256' },
    { key: createSecretKey(Buffer.from(SECRET)), algorithm: 'EdDSA' },
    { key: '-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----', algorithm: 'EdDSA' },
    { keysUrl: 'http://127.0.0.1:1' },
    { key: undefined, algorithm: 'toString' },
    { key: undefined, algorithm: undefined, keysUrl: 'ftp://127.0.0.1' },
    { key: undefined, algorithm: undefined, keysUrl: '/keys' },
    { key: undefined, algorithm: undefined, keysUrl: 'http://a:b@127.0.0.1' },
    { cache: { tokens: 0 } },
    { cache: { bytes: 1.5 } },
  ])) {
    assert.throws(() => new Verifier({ blocklist, ...SHOP, ...wrong }), { code: 'ADIEU_USAGE' }, JSON.stringify(wrong));
  }
  for (const key of [SECRET, Buffer.from(SECRET), createSecretKey(Buffer.from(SECRET))]) {
    new Verifier({ blocklist, ...SHOP, key }).verify(token(hmac(), ACCESS, claims()));
  }
});

test('ready() rejects when the keys are not known in time', async (t) => {
  const { blocklist } = await make(t, SHOP);
  const verifier = new Verifier({ blocklist, issuer: 'shop', keysUrl: 'http://127.0.0.1:1/keys', onEvent() {} });
  t.after(() => verifier.close());
  await assert.rejects(verifier.ready({ timeout: 100 }), (error) => error instanceof NodeError && error.code === 'ADIEU_TIMEOUT');
  assert.throws(() => verifier.verify(token(hmac(), ACCESS, claims())), /keys of the issuer are not known/);
  assert.equal(verifier.isReady, false);
});
