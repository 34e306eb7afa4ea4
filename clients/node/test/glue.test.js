import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { test } from 'node:test';

import fastifyJwt from '@fastify/jwt';
import express from 'express';
import { expressjwt } from 'express-jwt';
import fastify from 'fastify';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import jsonwebtoken from 'jsonwebtoken';

import * as forExpress from '../src/express-jwt.js';
import * as forFastify from '../src/fastify-jwt.js';
import { Blocklist } from '../src/index.js';
import { assertGood } from '../src/jose.js';
import { writePage } from '../src/page-writer.js';
import { Node, eventually, follow, verdict } from './support/node.js';
import { serve } from './support/server.js';

/** @typedef {import('node:test').TestContext} TestContext */

const NOW = Math.floor(Date.now() / 1000);

/** @type {import('../src/page.js').Entry} */
const ENTRY = { issuer: 'adieu', kind: 'token', id: '', issuedUntil: 0, lapsesAt: NOW + 9000 };

/**
 * Returns a blocklist that knows these entries.
 * @param {TestContext} t
 * @param {import('../src/page.js').Entry[]} entries
 * @param {{ prunedThrough?: number }} options
 */
async function blocklistOf(t, entries, options) {
  const url = await serve(t, (_, response) => setTimeout(() => response.end(writePage(entries, { flags: 3, ...options })), 20));
  const blocklist = new Blocklist({ url, clientId: 'a', secret: 'b' });
  t.after(() => blocklist.close());
  await blocklist.ready();
  return blocklist;
}

const SECRET = 'a secret of the application, which Adieu never sees';

/** Start a service with its own tokens, and routes to show the user, to refresh and to log out. Each returns its address. */
const SERVICES = {
  /** @param {TestContext} t @param {Blocklist} blocklist */
  async 'express-jwt'(t, blocklist) {
    const getToken = forExpress.bearerToken;
    /** @param {string[]} [types] */
    const guard = (types) =>
      expressjwt({ secret: SECRET, algorithms: ['HS256'], getToken, isRevoked: forExpress.isRevoked(blocklist, { types, getToken }) });
    const app = express();
    app.get('/me', guard(), (/** @type {import('express-jwt').Request} */ request, response) => {
      response.json({ sub: request.auth?.sub });
    });
    app.post('/refresh', guard(['refresh']), (/** @type {import('express-jwt').Request} */ request, response) => {
      response.json({ token: sign({}, { sid: request.auth?.sid }) });
    });
    app.post('/logout', guard(['access', 'refresh']), async (/** @type {import('express-jwt').Request} */ request, response) => {
      await blocklist.revoke(request.auth ?? {}, { timeout: 3000 });
      response.json({ message: 'Successfully logged out' });
    });
    app.use(forExpress.refusals());
    const server = app.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    return `http://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`;
  },

  /** @param {TestContext} t @param {Blocklist} blocklist */
  async '@fastify/jwt'(t, blocklist) {
    const app = fastify();
    const getToken = forFastify.bearerToken;
    for (const [namespace, types] of Object.entries({ access: ['access'], refresh: ['refresh'], any: ['access', 'refresh'] })) {
      app.register(fastifyJwt, { secret: SECRET, namespace, trusted: forFastify.trusted(blocklist, { types, getToken }) });
    }
    app.setErrorHandler(forFastify.refusals());
    const verify = (/** @type {string} */ name) => ({ onRequest: (/** @type {any} */ request) => request[`${name}JwtVerify`]() });
    app.get('/me', verify('access'), (request) => ({ sub: /** @type {{ sub: string }} */ (request.user).sub }));
    app.post('/refresh', verify('refresh'), (request) => {
      return { token: sign({}, { sid: /** @type {{ sid: string }} */ (request.user).sid }) };
    });
    app.post('/logout', verify('any'), async (request) => {
      await blocklist.revoke(/** @type {object} */ (request.user), { timeout: 3000 });
      return { message: 'Successfully logged out' };
    });
    const address = await app.listen({ port: 0, host: '127.0.0.1' });
    t.after(() => app.close());
    return address;
  },
};

/** @param {string} url @param {string} [token] @param {string} [method] */
async function ask(url, token, method = 'GET') {
  const answer = await fetch(url, { method, headers: token ? { authorization: `Bearer ${token}` } : {} });
  const [challenge, retryAfter] = ['www-authenticate', 'retry-after'].map((name) => answer.headers.get(name));
  return { status: answer.status, body: await answer.text(), challenge, retryAfter };
}

/** @param {import('jsonwebtoken').SignOptions} [options] @param {object} [claims] */
const sign = (options, claims = {}) =>
  jsonwebtoken.sign({ sub: 'jose', ...claims }, SECRET, { expiresIn: '15m', jwtid: crypto.randomUUID(), ...options });

for (const [name, serve] of Object.entries(SERVICES)) {
  test(`${name}: who logs out of one service is refused by it, and by the other`, async (t) => {
    const node = await Node.start(t);
    const [one, other] = [await follow(t, node), await follow(t, node)];
    const [here, elsewhere] = [await serve(t, one.blocklist), await serve(t, other.blocklist)];
    const [token, another] = [sign(), sign()];
    assert.deepEqual(await ask(`${here}/me`, token), { status: 200, body: '{"sub":"jose"}', challenge: null, retryAfter: null });

    assert.equal((await ask(`${here}/logout`, token, 'POST')).body, '{"message":"Successfully logged out"}');
    const refused = {
      status: 401,
      body: '{"description":"The token has been revoked.","error":"token_revoked"}',
      challenge: 'Bearer error="invalid_token", error_description="The token has been revoked."',
      retryAfter: null,
    };
    assert.deepEqual(await ask(`${here}/me`, token), refused);
    assert.deepEqual(await ask(`${here}/logout`, token, 'POST'), refused);
    await eventually(async () => (await ask(`${elsewhere}/me`, token)).status === 401, 'the other one knows');
    assert.equal((await ask(`${elsewhere}/me`, another)).status, 200);
  });

  test(`${name}: a logout ends the whole session, from either token`, async (t) => {
    const node = await Node.start(t);
    const { blocklist } = await follow(t, node);
    const address = await serve(t, blocklist);
    const other = sign({}, { sid: crypto.randomUUID() });
    for (const shown of ['access', 'refresh']) {
      const sid = crypto.randomUUID();
      /** @type {Record<string, string>} */
      const tokens = { access: sign({}, { sid }), refresh: sign({ expiresIn: '30d' }, { sid, type: 'refresh' }) };
      const refreshed = JSON.parse((await ask(`${address}/refresh`, tokens.refresh, 'POST')).body).token;
      assert.equal((await ask(`${address}/me`, refreshed)).status, 200);
      assert.equal((await ask(`${address}/logout`, tokens[shown], 'POST')).status, 200);
      for (const [method, path, token] of /** @type {const} */ ([
        ['GET', '/me', tokens.access],
        ['GET', '/me', refreshed],
        ['POST', '/refresh', tokens.refresh],
        ['POST', '/logout', tokens[shown]],
      ])) {
        const { status, body } = await ask(`${address}${path}`, token, method);
        assert.deepEqual([status, JSON.parse(body).error], [401, 'token_revoked'], `${path} after a logout with the ${shown} token`);
      }
    }
    assert.equal((await ask(`${address}/me`, other)).status, 200);
  });

  test(`${name}: a token of another kind is refused, whatever names it`, async (t) => {
    const node = await Node.start(t);
    const { blocklist } = await follow(t, node);
    const address = await serve(t, blocklist);
    const header = (/** @type {string} */ typ) => ({ header: { typ, alg: 'HS256' } });
    for (const [options, claims] of /** @type {const} */ ([
      [{}, { type: 'refresh' }],
      [{}, { token_type: 'Refresh' }],
      [{}, { token_use: 'id' }],
      [{}, { typ: 'Offline' }],
      [{}, { typ: 7 }],
      [header('rt+jwt'), {}],
      [header('logout+jwt'), {}],
      [header('at+jwt'), { type: 'refresh' }],
    ])) {
      const { status, body } = await ask(`${address}/me`, sign(options, claims));
      assert.deepEqual([status, JSON.parse(body).error], [401, 'invalid_token'], JSON.stringify([options, claims]));
    }
    assert.equal((await ask(`${address}/refresh`, sign(header('rt+jwt'), { type: 'refresh' }), 'POST')).status, 401, 'of the node');
    for (const [options, claims] of /** @type {const} */ ([
      [{}, { type: 'bearer' }],
      [{}, { typ: 'Bearer', token_use: 'access' }],
      [header('application/AT+JWT'), {}],
    ])) {
      assert.equal((await ask(`${address}/me`, sign(options, claims))).status, 200, JSON.stringify([options, claims]));
    }
  });

  test(`${name}: claims that no revocation could name are those of no good token`, async (t) => {
    const node = await Node.start(t);
    const { blocklist } = await follow(t, node);
    const address = await serve(t, blocklist);
    for (const token of [sign({}, { sid: 7 }), sign({}, { sid: '' }), jsonwebtoken.sign({ sub: 'jose', jti: 'x' }, SECRET)]) {
      const { status, body } = await ask(`${address}/me`, token);
      assert.deepEqual([status, JSON.parse(body).error], [401, 'invalid_token']);
    }
  });

  test(`${name}: tokens without jti are told apart by what is signed`, async (t) => {
    const node = await Node.start(t);
    const { blocklist } = await follow(t, node);
    const address = await serve(t, blocklist);
    const [token, another] = ['jose', 'ana'].map((sub) => jsonwebtoken.sign({ sub }, SECRET, { expiresIn: '15m' }));
    assert.equal((await ask(`${address}/logout`, token, 'POST')).status, 200);
    assert.equal((await ask(`${address}/me`, token)).status, 401);
    assert.equal((await ask(`${address}/me`, another)).status, 200);
  });

  test(`${name}: everything else that is wrong with a token is told in the words of Adieu`, async (t) => {
    const node = await Node.start(t);
    const { blocklist } = await follow(t, node);
    const address = await serve(t, blocklist);
    const invalid = '{"message":"Signature verification failed.","error":"invalid_token"}';
    for (const [token, body] of /** @type {const} */ ([
      [undefined, '{"description":"Request does not contain an access token.","error":"authorization_required"}'],
      ['x', invalid],
      [jsonwebtoken.sign({ sub: 'jose' }, 'another secret', { expiresIn: '15m' }), invalid],
      [sign({ expiresIn: -10 }), '{"message":"The token has expired.","error":"token_expired"}'],
    ])) {
      const answer = await ask(`${address}/me`, token);
      assert.deepEqual([answer.status, answer.body], [401, body]);
    }
    assert.equal((await ask(`${address}/me`, sign({}, { type: 'refresh' }))).status, 401, 'a refresh token is for /refresh');
  });

  test(`${name}: while nothing is known the answer is 503, and a logout that was not confirmed is none`, async (t) => {
    const node = await Node.start(t);
    const { blocklist, proxy } = await follow(t, node, { maxStaleness: 300 });
    const address = await serve(t, blocklist);
    const token = sign();
    await eventually(async () => (await ask(`${address}/me`, token)).status === 200, 'it follows');
    proxy.mode = 'cut';
    // Either the memory is stale already, or the node cannot be reached.
    const logout = await ask(`${address}/logout`, token, 'POST');
    assert.deepEqual([logout.status, logout.retryAfter], [503, '1']);
    await eventually(() => !blocklist.status().fresh, 'it is stale');
    assert.deepEqual(await ask(`${address}/me`, token), {
      status: 503,
      body: '{"code":503,"message":"Whether the token has been revoked is not known just now. Try again.","status":"Service Unavailable"}',
      challenge: null,
      retryAfter: '1',
    });
  });
}

test('errors have their status in the error handlers of the framework too', async (t) => {
  const node = await Node.start(t);
  const { blocklist, proxy } = await follow(t, node, { maxStaleness: 100 });
  const app = express();
  app.set('env', 'test');
  app.use(expressjwt({ secret: SECRET, algorithms: ['HS256'], isRevoked: forExpress.isRevoked(blocklist) }));
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  t.mock.method(console, 'error', () => {});
  proxy.mode = 'cut';
  await eventually(() => !blocklist.status().fresh, 'it is stale');
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  const { status, retryAfter } = await ask(`http://127.0.0.1:${port}/me`, sign());
  assert.deepEqual([status, retryAfter], [503, '1']);
});

test('without getToken, a token without jti is an error, not an acceptance', async (t) => {
  const node = await Node.start(t);
  const { blocklist } = await follow(t, node);
  const token = jsonwebtoken.sign({ sub: 'jose' }, SECRET, { expiresIn: '15m' });
  const another = jsonwebtoken.sign({ sub: 'ana' }, SECRET, { expiresIn: '15m' });
  await blocklist.revoke(/** @type {object} */ (jsonwebtoken.decode(token)), { token });
  const headers = { cookie: `token=${token}`, authorization: `Bearer ${another}` };

  const app = express();
  app.set('env', 'test');
  const getToken = (/** @type {express.Request} */ { headers }) => headers.cookie?.split('=')[1];
  app.use(expressjwt({ secret: SECRET, algorithms: ['HS256'], getToken, isRevoked: forExpress.isRevoked(blocklist) }));
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  t.mock.method(console, 'error', () => {});
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  assert.equal((await fetch(`http://127.0.0.1:${port}/`, { headers })).status, 500);

  const other = fastify();
  const verify = { extractToken: (/** @type {any} */ { headers }) => headers.cookie?.split('=')[1], complete: true };
  other.register(fastifyJwt, { secret: SECRET, verify, trusted: forFastify.trusted(blocklist, { complete: true }) });
  other.get('/', { onRequest: (request) => request.jwtVerify() }, () => 'welcome');
  assert.equal((await other.inject({ url: '/', headers })).statusCode, 500);
  await other.close();
});

test('@fastify/jwt: the header of a token is never guessed', async (t) => {
  const node = await Node.start(t);
  const { blocklist } = await follow(t, node);
  const claims = { sub: 'jose', jti: randomUUID(), header: {}, payload: { jti: 'another', exp: 1e10 } };
  const token = jsonwebtoken.sign(claims, SECRET, { expiresIn: '15m' });
  await blocklist.revoke(/** @type {object} */ (jsonwebtoken.decode(token)));
  const good = jsonwebtoken.sign({ sub: 'jose', jti: randomUUID() }, SECRET, { expiresIn: '15m' });
  const extractToken = (/** @type {any} */ { headers }) => headers.cookie?.split('=')[1];
  const asked = async (/** @type {object} */ verify, /** @type {any} */ options, /** @type {string} */ sent) => {
    const app = fastify();
    t.after(() => app.close());
    app.register(fastifyJwt, { secret: SECRET, verify: { extractToken, ...verify }, trusted: forFastify.trusted(blocklist, options) });
    app.setErrorHandler(forFastify.refusals());
    app.get('/', { onRequest: (request) => request.jwtVerify() }, () => 'welcome');
    return (await app.inject({ url: '/', headers: { cookie: `token=${sent}` } })).statusCode;
  };
  const [whole, getToken] = [{ complete: true }, extractToken];
  for (const options of [{}, undefined]) assert.throws(() => forFastify.trusted(blocklist, /** @type {any} */ (options)), { code: 'ADIEU_USAGE' });
  // It looks elsewhere, or finds something else.
  for (const getToken of [forFastify.bearerToken, () => `Bearer ${good}`, () => 'bnVsbA.']) assert.equal(await asked({}, { getToken }, good), 500);
  assert.equal(await asked({}, { getToken }, good), 200);
  assert.equal(await asked({}, { getToken }, token), 401);
  assert.equal(await asked(whole, whole, good), 200);
  assert.equal(await asked(whole, whole, token), 401);
  // Settings that do not agree.
  assert.equal(await asked({}, { ...whole, getToken }, good), 500);
  assert.equal(await asked(whole, { getToken }, good), 401);
});

test('@fastify/jwt: a revoked key signs no good token in a cookie, whatever is in the header Authorization', async (t) => {
  const key = { ...ENTRY, kind: /** @type {const} */ ('key'), id: 'stolen' };
  const blocklist = await blocklistOf(t, [key], {});
  const token = jsonwebtoken.sign({ sub: 'jose', jti: 'x' }, SECRET, { expiresIn: '15m', keyid: 'stolen' });
  const other = jsonwebtoken.sign({ sub: 'jose', jti: 'x' }, SECRET, { expiresIn: '15m' });
  const getToken = (/** @type {any} */ { headers }) => headers.cookie?.split('=')[1];
  for (const [options, complete] of /** @type {const} */ ([[{ getToken }, false], [{ complete: true }, true], [{ getToken, complete: true }, true]])) {
    const app = fastify();
    t.after(() => app.close());
    app.register(fastifyJwt, { secret: SECRET, verify: { extractToken: getToken, complete }, trusted: forFastify.trusted(blocklist, options) });
    app.get('/', { onRequest: (request) => request.jwtVerify() }, () => 'welcome');
    const asked = async (/** @type {string} */ cookie, /** @type {string} */ sent) =>
      (await app.inject({ url: '/', headers: { cookie: `token=${cookie}`, authorization: `Bearer ${sent}` } })).statusCode;
    assert.deepEqual([await asked(token, other), await asked(other, token)], [401, 200]);
  }
});

test('a token whose revocation may have been removed has expired for every integration, and one whose revocation is known is revoked', async (t) => {
  const blocklist = await blocklistOf(t, [{ ...ENTRY, id: 'known' }], { prunedThrough: NOW + 1000 });
  const header = {};
  for (const [jti, error] of [['known', 'token_revoked'], ['unknown', 'token_expired']]) {
    const payload = { jti, exp: NOW + 800 };
    const said = async (/** @type {() => unknown} */ check) => {
      try {
        return (await check()) ? 'good' : 'token_revoked';
      } catch (error) {
        return /** @type {any} */ (error).body?.error;
      }
    };
    assert.equal(blocklist.isRevoked(payload), true);
    assert.equal(await said(() => blocklist.assertNotRevoked(payload)), error);
    assert.equal(await said(() => assertGood(blocklist, { protectedHeader: header, payload })), error);
    assert.equal(await said(async () => !(await forExpress.isRevoked(blocklist)({}, { header, payload }))), error);
    assert.equal(await said(() => forFastify.trusted(blocklist, { complete: true })({}, { header, payload })), error);
  }
});

test('jose: a logout with an access token ends its session at the node and in every service', async (t) => {
  const node = await Node.start(t);
  const [{ blocklist }, { blocklist: other }] = [await follow(t, node), await follow(t, node)];
  const keys = createRemoteJWKSet(new URL(`${node.url}/.well-known/jwks.json`));
  const { access, refresh } = await node.logIn('jose');
  const refreshed = await node.refresh(refresh);
  const { payload } = await jwtVerify(access, keys, { issuer: 'adieu', typ: 'at+jwt', algorithms: ['EdDSA'] });

  await blocklist.revoke(payload);
  assert.deepEqual([verdict(blocklist, access), verdict(blocklist, refreshed.access)], ['revoked', 'revoked']);
  assert.equal(verdict(blocklist, refreshed.refresh), 'revoked', 'a known end of a session is that of all its tokens');
  await eventually(() => verdict(other, refreshed.access) === 'revoked', 'the other service knows');
  await assert.rejects(node.post('/refresh', { token: refreshed.refresh }), /401.*token_revoked/);
});

test('jose: the tokens of the node itself are verified with its keys, and checked here', async (t) => {
  const node = await Node.start(t);
  const { blocklist, proxy } = await follow(t, node);
  const keys = createRemoteJWKSet(new URL(`${node.url}/.well-known/jwks.json`));
  const verify = async (/** @type {string} */ token) => {
    const verified = await jwtVerify(token, keys, { issuer: 'adieu', algorithms: ['EdDSA'] });
    assertGood(blocklist, verified, { token });
    return verified.payload;
  };
  const { access, refresh } = await node.logIn('jose');
  const payload = await verify(access);
  await assert.rejects(verify(refresh), { name: 'InvalidClaimsError', status: 401 });

  await blocklist.revokeSession(String(payload.sid));
  await assert.rejects(verify(access), { name: 'RevokedError', status: 401, body: { description: 'The token has been revoked.', error: 'token_revoked' } });
  const ana = await node.logIn('ana');
  await verify(ana.access);
  proxy.mode = 'cut';
  await eventually(() => !blocklist.status().fresh, 'it is stale');
  await assert.rejects(verify(ana.access), { name: 'StaleError', status: 503 });
});
