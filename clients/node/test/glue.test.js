import assert from 'node:assert/strict';
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
import { Node, eventually, follow } from './support/node.js';

/** @typedef {import('node:test').TestContext} TestContext */
/** @typedef {import('../src/index.js').Blocklist} Blocklist */

const SECRET = 'a secret of the application, which Adieu never sees';

/** A service whose tokens are its own, with a route to see oneself and one to log out. Each gives its address. */
const SERVICES = {
  /** @param {TestContext} t @param {Blocklist} blocklist @param {string} [secret] */
  async 'express-jwt'(t, blocklist, secret = SECRET) {
    const app = express();
    app.use(expressjwt({ secret, algorithms: ['HS256'], isRevoked: forExpress.isRevoked(blocklist) }));
    app.get('/me', (/** @type {import('express-jwt').Request} */ request, response) => {
      response.json({ sub: request.auth?.sub });
    });
    app.post('/logout', async (/** @type {import('express-jwt').Request} */ request, response) => {
      const token = request.headers.authorization?.split(' ')[1];
      await blocklist.revoke(request.auth ?? {}, { timeout: 300, ...(token ? { token } : {}) });
      response.json({ message: 'Successfully logged out' });
    });
    app.use(forExpress.refusals());
    const server = app.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    return `http://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`;
  },

  /** @param {TestContext} t @param {Blocklist} blocklist @param {string} [secret] */
  async '@fastify/jwt'(t, blocklist, secret = SECRET) {
    const app = fastify();
    app.register(fastifyJwt, { secret, trusted: forFastify.trusted(blocklist) });
    app.setErrorHandler(forFastify.refusals());
    app.addHook('onRequest', (request) => request.jwtVerify());
    app.get('/me', (request) => ({ sub: /** @type {{ sub: string }} */ (request.user).sub }));
    app.post('/logout', async (request) => {
      const token = request.headers.authorization?.split(' ')[1];
      await blocklist.revoke(/** @type {object} */ (request.user), { timeout: 300, ...(token ? { token } : {}) });
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
    // Either it is stale already, or the node can't be told.
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

test('errors have their status also for whoever handles them in the way of the framework', async (t) => {
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

test('jose: the tokens of the node itself are verified with its keys, and checked here', async (t) => {
  const node = await Node.start(t);
  const { blocklist, proxy } = await follow(t, node);
  const keys = createRemoteJWKSet(new URL(`${node.url}/.well-known/jwks.json`));
  const verify = async (/** @type {string} */ token) => {
    const { payload } = await jwtVerify(token, keys, { issuer: 'adieu', typ: 'at+jwt', algorithms: ['EdDSA'] });
    blocklist.assertNotRevoked(payload);
    return payload;
  };
  const { access, refresh } = await node.logIn('jose');
  const payload = await verify(access);
  await assert.rejects(verify(refresh), { code: 'ERR_JWT_CLAIM_VALIDATION_FAILED' });

  await blocklist.revokeSession(String(payload.sid));
  await assert.rejects(verify(access), { name: 'RevokedError', status: 401, body: { description: 'The token has been revoked.', error: 'token_revoked' } });
  const ana = await node.logIn('ana');
  await verify(ana.access);
  proxy.mode = 'cut';
  await eventually(() => !blocklist.status().fresh, 'it is stale');
  await assert.rejects(verify(ana.access), { name: 'StaleError', status: 503 });
});
