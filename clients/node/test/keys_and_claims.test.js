/** A stolen key, and a claim such as a tenant, end all tokens that have them. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import { test } from 'node:test';

import * as edge from '../src/edge.js';
import * as forExpress from '../src/express-jwt.js';
import * as forFastify from '../src/fastify-jwt.js';
import { Blocklist, RevokedError, Verifier } from '../src/index.js';
import { assertGood } from '../src/jose.js';
import { writePage } from '../src/page-writer.js';
import { Revocations } from '../src/revocations.js';
import { Node, eventually, follow } from './support/node.js';
import { ACCESS, SECRET, claims, hmac, keyPair, token } from './support/tokens.js';

/** @typedef {import('../src/page.js').Entry} Entry */

const NOW = Math.floor(Date.now() / 1000);
const LAPSES_AT = NOW + 9000;

/** A revoked value, claims that have it, and claims that do not. @type {[string, unknown[], unknown[]][]} */
const VALUES = [
  ['acme', ['acme', ['globex', 'acme']], ['Acme', 'acme ', '', [['acme']], { acme: 'acme' }, null, undefined, []]],
  ['josé', ['josé'], ['jose\u0301', 'jos\ud800']],
  ['true', [true, 'true', [false, true]], [1, false, 'True', null]],
  ['false', [false], [0, '', null, []]],
  ['1', [1, JSON.parse('1.0'), JSON.parse('1e0'), '1', [1]], [true, 1.5, '1.0', '01', -1, 10]],
  ['0', [0, -0], [false, null, '-0', '']],
  ['-5', [-5, '-5'], [5, -5.5]],
  ['1000', [1000, JSON.parse('1e3')], ['1e3']],
  ['9007199254740991', [2 ** 53 - 1], [2 ** 53]],
  ['9007199254740992', ['9007199254740992'], [2 ** 53, -(2 ** 53)]],
  ['-9007199254740991', [-(2 ** 53) + 1], [-(2 ** 53)]],
  ['1e+21', ['1e+21'], [1e21]],
  ['Infinity', ['Infinity'], [JSON.parse('1e400')]],
  ['null', ['null'], [null, [null], undefined]],
  ['[object Object]', ['[object Object]'], [{}]],
  ['a\x1fb', ['a\x1fb'], ['a', 'b']],
];

/** @param {Partial<Entry>} entry @returns {Entry} */
const entryOf = (entry) => ({ issuer: 'shop', kind: 'key', id: 'kid-1', issuedUntil: 0, lapsesAt: LAPSES_AT, ...entry });

/** @param {string} name @param {string} value @param {number} [issuedUntil] */
const claimOf = (name, value, issuedUntil = NOW) => entryOf({ kind: 'claim', id: `${name}\x1f${value}`, issuedUntil });

/** @param {Partial<import('../src/revocations.js').Facts>} facts */
const facts = (facts) => ({
  issuer: 'shop',
  tokenId: 't1',
  session: undefined,
  subject: 'jose',
  issuedAt: NOW - 10,
  expiresAt: NOW + 900,
  ...facts,
});

test('a claim matches by its text, of its name and of its issuer', () => {
  for (const [value, matching, others] of VALUES) {
    const index = new Revocations();
    index.add(claimOf('tenant', value));
    for (const tenant of matching) {
      const what = `${value} ${JSON.stringify(tenant)}`;
      assert.equal(index.check(facts({ claims: { tenant } })), 'claim', what);
      assert.equal(index.check(facts({ claims: { Tenant: tenant, tenants: tenant } })), undefined, what);
      assert.equal(index.check(facts({ claims: { tenant }, issuer: 'another' })), undefined, what);
    }
    for (const tenant of others) assert.equal(index.check(facts({ claims: { tenant } })), undefined, `${value} ${JSON.stringify(tenant)}`);
    assert.equal(index.check(facts({ claims: {} })), undefined);
  }
});

test('a claim is revoked up to the second of the latest cut-off, and without iat', () => {
  const index = new Revocations();
  for (const until of [NOW - 50, NOW - 20, NOW - 90]) index.add(claimOf('tenant', 'acme', until));
  const claims = { tenant: 'acme' };
  for (const issuedAt of [NOW - 100, NOW - 20, undefined]) assert.equal(index.check(facts({ claims, issuedAt })), 'claim', `${issuedAt}`);
  assert.equal(index.check(facts({ claims, issuedAt: NOW - 19 })), undefined);
  assert.equal(index.claimCutOff('shop', 'tenant', 'acme'), NOW - 20);
});

test('a key is revoked of its issuer, whenever the token was issued, and is never forgotten', () => {
  const index = new Revocations();
  index.add(entryOf({}));
  index.raisePrunedThrough(LAPSES_AT + 1000);
  while (!index.forgetSome());
  const later = { expiresAt: LAPSES_AT + 5000, issuedAt: LAPSES_AT + 4000 };
  assert.equal(index.check(facts({ kid: 'kid-1', ...later })), 'key');
  assert.equal(index.check(facts({ kid: 'KID-1', ...later })), undefined);
  assert.equal(index.check(facts({ kid: undefined, ...later })), undefined);
  assert.equal(index.check(facts({ kid: 'kid-1', issuer: 'another', ...later })), undefined);
  assert.equal(index.check(facts({ tokenId: 'kid-1', session: 'kid-1', subject: 'kid-1', claims: { kid: 'kid-1' }, ...later })), undefined);
});

test('only those claims are looked at that a revocation of the issuer names, for as long as there is one', () => {
  const index = new Revocations();
  /** @type {PropertyKey[]} */
  const asked = [];
  const claims = new Proxy({ tenant: 'globex', role: 'admin' }, {
    getOwnPropertyDescriptor(target, name) {
      asked.push(name);
      return Reflect.getOwnPropertyDescriptor(target, name);
    },
  });
  const check = () => index.check(facts({ claims, expiresAt: LAPSES_AT + 5000 }));
  index.add({ ...claimOf('role', 'editor'), issuer: 'another' });
  // It stays, and so do the other revocations of its issuer.
  index.add(entryOf({}));
  assert.equal(check(), undefined);
  assert.deepEqual(asked, []);
  index.add(claimOf('tenant', 'acme'));
  assert.equal(check(), undefined);
  assert.deepEqual(asked, ['tenant']);
  assert.equal(index.size, 3);
  index.raisePrunedThrough(LAPSES_AT);
  while (!index.forgetSome());
  assert.equal(check(), undefined);
  assert.deepEqual(asked, ['tenant']);
  assert.equal(index.size, 1);
});

test('an application revokes a claim', async (t) => {
  const blocklist = await Blocklist.inMemory({ issuer: 'shop' });
  t.after(() => blocklist.close());
  for (const tenant of ['acme', 7, true]) {
    const old = claims({ tenant, iat: Math.floor(Date.now() / 1000) });
    assert.equal(blocklist.isRevoked(old), false);
    await blocklist.revokeClaim('tenant', tenant);
    assert.equal(blocklist.isRevoked(old), true);
    assert.equal(blocklist.isRevoked(claims({ tenant: [tenant], iat: old.iat })), true);
    assert.equal(await blocklist.revokeOnce(claims({ tenant, iat: old.iat })), false);
    assert.equal(blocklist.isRevoked(claims({ tenant, iat: Math.floor(Date.now() / 1000) })), false, 'it is issued afterwards');
  }
  await blocklist.revokeClaim('tenant', 'globex', { iss: 'another' });
  assert.equal(blocklist.isRevoked(claims({ tenant: 'globex', iat: NOW - 10 })), false);
  assert.equal(blocklist.isRevoked(claims({ tenant: 'globex', iat: NOW - 10, iss: 'another' })), true);
  for (const wrong of [undefined, null, 1.5, 2 ** 53, NaN, ['acme'], {}, '', 7n, 'x'.repeat(512)]) {
    await assert.rejects(blocklist.revokeClaim('tenant', /** @type {any} */ (wrong)), { code: 'ADIEU_USAGE' });
  }
  for (const wrong of ['', 'sub', 'a name', 'é', undefined]) {
    await assert.rejects(blocklist.revokeClaim(/** @type {any} */ (wrong), 'acme'), { code: 'ADIEU_USAGE' });
  }
  for (const wrong of [7, null, {}]) {
    assert.throws(() => blocklist.isRevoked(claims(), undefined, /** @type {any} */ (wrong)), { code: 'ADIEU_CLAIMS' });
  }
});

/**
 * Starts a node whose administrator revokes what `append` is given, with the keys of an issuer, and follows it.
 * @param {import('node:test').TestContext} t
 * @param {object[]} [keys]
 */
async function following(t, keys = []) {
  /** @type {Entry[]} */
  const log = [];
  /** @type {(() => void)[]} */
  let held = [];
  const server = http.createServer((request, response) => {
    const query = new URL(request.url ?? '', 'http://node').searchParams;
    if (request.url === '/keys') return void response.end(JSON.stringify({ keys }));
    const after = query.get('after');
    const start = Number(after?.split('.')[1] ?? 0);
    const answer = () => response.end(writePage(log.slice(start), { flags: after === null ? 3 : 1, position: log.length, maxStaleness: 60_000 }));
    if (after === null || log.length > start || query.get('wait') === '0') answer();
    else held.push(answer);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const url = `http://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`;
  const blocklist = new Blocklist({ url, clientId: 'shop', secret: 'secret', issuer: 'shop', maxStaleness: 60_000 });
  t.after(() => {
    blocklist.close();
    server.closeAllConnections();
    server.close();
  });
  await blocklist.ready();
  const append = async (/** @type {Entry[]} */ ...entries) => {
    log.push(...entries);
    for (const answer of held) answer();
    held = [];
    await eventually(() => blocklist.status().revocations === log.length, 'they are known');
  };
  return { blocklist, append, keysUrl: `${url}/keys` };
}

test('the integrations give the key of the header', async (t) => {
  const { blocklist, append } = await following(t);
  const signer = keyPair('EdDSA');
  const payload = claims({ tenant: 'acme', iat: NOW - 10 });
  const of = (/** @type {string} */ kid, /** @type {object} */ payload) => token(signer, { ...ACCESS, kid }, payload);
  const onExpress = forExpress.isRevoked(blocklist);
  const onFastify = forFastify.trusted(blocklist, { getToken: forFastify.bearerToken });
  const onWhole = forFastify.trusted(blocklist, { complete: true });
  const verdicts = async (/** @type {string} */ kid, /** @type {any} */ payload = claims()) => {
    const header = { ...ACCESS, kid };
    const headers = { authorization: `Bearer ${of(kid, payload)}` };
    let onJose = true;
    try {
      assertGood(blocklist, { protectedHeader: header, payload: { ...payload } });
    } catch (error) {
      assert.ok(error instanceof RevokedError);
      onJose = false;
    }
    return [
      !(await onExpress({}, { header, payload })),
      await onFastify({ headers }, { ...payload }),
      await onWhole({ headers: {} }, { header, payload: { ...payload } }),
      onJose,
    ];
  };
  const [good, revoked] = [[true, true, true, true], [false, false, false, false]];
  assert.deepEqual(await verdicts('kid-1'), good);
  await append(entryOf({}));
  assert.deepEqual(await verdicts('kid-1'), revoked);
  assert.deepEqual(await verdicts('kid-2', payload), good);
  await append(claimOf('tenant', 'acme'));
  assert.deepEqual(await verdicts('kid-2', payload), revoked);
});

test('a verifier knows the key also if the header does not name it, and looks at all claims, also of remembered tokens', async (t) => {
  const signers = { 'kid-1': keyPair('EdDSA'), 'kid-2': keyPair('EdDSA') };
  const keys = Object.entries(signers).map(([kid, { public: key }]) => ({ ...key.export({ format: 'jwk' }), kid }));
  const { blocklist, append, keysUrl } = await following(t, keys);
  const verifiers = [undefined, {}].map((cache) => new Verifier({ blocklist, issuer: 'shop', keysUrl, cache, profile: 'plain' }));
  const of = (/** @type {keyof typeof signers} */ kid, header = {}, payload = claims({ iat: NOW - 10, tenant: [7, 'acme'] })) =>
    token(signers[kid], { ...ACCESS, ...header }, payload);
  const tokens = [
    of('kid-1', { kid: 'kid-1' }),
    of('kid-1'),
    of('kid-2', { kid: 'kid-2' }, claims({ tenant: true, iat: NOW - 10 })),
    of('kid-2', {}, claims({ tenant: 7, iat: NOW - 10, iss: undefined, jti: undefined })),
    of('kid-2'),
  ];
  /** @param {Verifier} verifier */
  const verdicts = (verifier) =>
    tokens.map((each) => {
      try {
        const found = verifier.verify(each);
        assert.deepEqual(found, JSON.parse(Buffer.from(each.split('.')[1] ?? '', 'base64url').toString()));
        return true;
      } catch (error) {
        assert.ok(error instanceof RevokedError, String(error));
        return false;
      }
    });
  for (const verifier of verifiers) {
    t.after(() => verifier.close());
    await verifier.ready();
    assert.deepEqual(verdicts(verifier), [true, true, true, true, true]);
    const found = tokens.map((each) => verifier.verifyWithKey(each));
    assert.deepEqual(found.map(({ kid }) => kid), ['kid-1', 'kid-1', 'kid-2', 'kid-2', 'kid-2']);
    assert.deepEqual(found.map(({ claims }) => claims), tokens.map((each) => verifier.verify(each)));
    for (const { claims, kid } of found) assert.equal(blocklist.isRevoked({ jti: 'any', ...claims }, undefined, kid), false);
  }
  await append(entryOf({}));
  for (const verifier of verifiers) assert.deepEqual(verdicts(verifier), [false, false, true, true, true]);
  await append(claimOf('tenant', 'true'));
  for (const verifier of verifiers) assert.deepEqual(verdicts(verifier), [false, false, false, true, true]);
  await append(claimOf('tenant', '7'));
  for (const verifier of verifiers) assert.deepEqual(verdicts(verifier), [false, false, false, false, false]);
});

test('a fixed public key is known by its thumbprint, whether the token names it or not', async (t) => {
  const { blocklist, append } = await following(t);
  for (const algorithm of ['EdDSA', 'ES256', 'RS256']) {
    const pair = keyPair(algorithm);
    const { crv, e, kty, n, x, y } = pair.public.export({ format: 'jwk' });
    const thumbprint = createHash('sha256').update(JSON.stringify({ crv, e, kty, n, x, y })).digest('base64url');
    const keys = [pair.public, pair.public.export({ type: 'spki', format: 'pem' })];
    const verifiers = keys.map((key) => new Verifier({ blocklist, issuer: 'shop', key, algorithm }));
    const tokens = [{}, { kid: thumbprint }].map((header) => token(pair, { ...ACCESS, ...header }, claims()));
    for (const verifier of verifiers) {
      for (const each of tokens) assert.equal(verifier.verifyWithKey(each).kid, thumbprint);
      for (const kid of ['', 'kid-1', thumbprint.toLowerCase(), `${thumbprint}=`]) {
        assert.throws(() => verifier.verify(token(pair, { ...ACCESS, kid }, claims())), /unknown key/, kid);
      }
    }
    await append(entryOf({ id: thumbprint }));
    for (const verifier of verifiers) for (const each of tokens) assert.throws(() => verifier.verify(each), RevokedError);
  }
  // A secret has no id.
  const verifier = new Verifier({ blocklist, issuer: 'shop', key: SECRET, algorithm: 'HS256' });
  assert.equal(verifier.verifyWithKey(token(hmac(), ACCESS, claims())).kid, undefined);
});

test('a callback comes for both, once', async (t) => {
  const { blocklist, append } = await following(t);
  /** @type {string[]} */
  const called = [];
  const payload = claims({ tenant: 'acme', iat: NOW - 10 });
  blocklist.onRevoked(claims(), () => void called.push('key'), undefined, 'kid-1');
  blocklist.onRevoked(payload, () => void called.push('claim'));
  blocklist.onRevoked(claims({ tenant: 'globex', iat: NOW - 10 }), () => assert.fail('its tenant was not revoked'), undefined, 'kid-2');
  Object.assign(payload, { tenant: 'changed' });
  await append(entryOf({}));
  await eventually(() => called.length === 1, 'it is called');
  await append(claimOf('tenant', 'acme'), claimOf('tenant', 'initech'));
  await eventually(() => called.length === 2, 'it is called');
  await append(claimOf('tenant', 'umbrella'));
  assert.deepEqual(called, ['key', 'claim']);
});

for (const [client, Client] of Object.entries({ Node: Blocklist, 'the edge': edge.Blocklist })) {
  test(`a real node revokes a claim for ${client}, and every follower knows`, async (t) => {
    const node = await Node.start(t, { revocable_claims: 'tenant' });
    const { blocklist: elsewhere } = await follow(t, node);
    const blocklist = new Client({ url: node.url, clientId: 'shop', secret: node.addClient('shop') });
    t.after(() => blocklist.close());
    await blocklist.ready();
    const { issuer } = blocklist.status();
    const old = claims({ iss: issuer, tenant: ['acme', 7], iat: Math.floor(Date.now() / 1000) });
    assert.deepEqual([blocklist.isRevoked(old), elsewhere.isRevoked(old)], [false, false]);
    await blocklist.revokeClaim('tenant', 7);
    await blocklist.fresh();
    assert.equal(blocklist.isRevoked(old), true);
    assert.equal(blocklist.isRevoked(claims({ iss: issuer, tenant: 7, iat: Math.floor(Date.now() / 1000) })), false, 'it is issued afterwards');
    assert.equal(blocklist.isRevoked(Object.assign({}, old, { tenant: 'acme' })), false);
    await eventually(() => elsewhere.isRevoked(old), 'another follower knows');
    await assert.rejects(blocklist.revokeClaim('role', 'editor'), { code: 'ADIEU_REJECTED', nodeStatus: 422, message: /revocable_claims/ });
  });
}
