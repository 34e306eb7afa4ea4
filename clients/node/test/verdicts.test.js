/** The table of verdicts that every implementation reads: `tests/verdicts.md` says what it means. */

import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import fastifyJwt from '@fastify/jwt';
import express from 'express';
import { expressjwt } from 'express-jwt';
import fastify from 'fastify';
import { errors, jwtVerify } from 'jose';

import * as edge from '../src/edge.js';
import * as forExpress from '../src/express-jwt.js';
import * as forFastify from '../src/fastify-jwt.js';
import { Verifier, tokenIdOf } from '../src/index.js';
import { assertGood } from '../src/jose.js';
import { Node, follow } from './support/node.js';
import { serve } from './support/server.js';

/**
 * @typedef {object} Row
 * @property {string} name
 * @property {string} issuer
 * @property {Record<string, unknown>} header
 * @property {Record<string, unknown>} claims
 * @property {Record<string, unknown>[]} [revoked]
 * @property {string} verify
 * @property {boolean} [is_revoked]
 * @property {'error'} [without_token]
 */

/** @typedef {{ row: Row, token: string, claims: Record<string, any>, issuer: string }} Signed `issuer`: the issuer whose rules apply */

const table = JSON.parse(readFileSync(new URL('../../../tests/verdicts.json', import.meta.url), 'utf8'));
/** @type {Row[]} */
const rows = table.rows;
/** @type {string[]} */
const issuers = Object.keys(table.issuers);

const NO_KIND = 'a token without a kind counts as an access token, unless the library requires one';
const HEADER = 'express-jwt requires no type in the header';
const SUBJECT = 'a number as sub is accepted, unless the library requires a text';
const AUDIENCE = 'the library checks aud only if it is configured with an audience';
const TIMES = 'the library checks the times in its own way, with one tolerance for all of them';
const MISSING = 'express-jwt requires no claim; the application has to reject a missing one';

const SKIPPED_EVERYWHERE = {
  'nothing says what it is': NO_KIND,
  'bearer says as much as nothing': NO_KIND,
  'an integer subject, which is not accepted': SUBJECT,
  'for another audience': AUDIENCE,
  'meant for several others': AUDIENCE,
  'iat and nbf are two seconds ahead': TIMES,
  'exp is a fraction of the second that is now': TIMES,
};

/** Rows that an integration cannot judge, and the reason. @type {Record<string, Record<string, string>>} */
const SKIPPED = {
  '@fastify/jwt': { ...SKIPPED_EVERYWHERE, 'nbf is a fraction that has passed or is about to': TIMES },
  'express-jwt': {
    ...SKIPPED_EVERYWHERE,
    'a generic header is not enough': HEADER,
    'no jti, which is not accepted': MISSING,
    'no subject': MISSING,
  },
  jose: { ...SKIPPED_EVERYWHERE },
  'jose, at the edge': { ...SKIPPED_EVERYWHERE },
};

/** What signs for an issuer. @typedef {{ algorithm: string, privateKey: import('node:crypto').KeyLike, publicKey: string }} Keys */

/** Those of the table. @param {string} issuer @returns {Keys} */
const ofTheTable = (issuer) => {
  const { private_key: privateKey, public_key: publicKey } = table.issuers[issuer];
  return { algorithm: 'EdDSA', privateKey, publicKey };
};

/** Others, for what knows no EdDSA. @returns {Keys} */
const es256 = () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { algorithm: 'ES256', privateKey, publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString() };
};

/** @param {Row} row @param {number} now @param {Keys} keys @returns {Signed} */
function signRow(row, now, { algorithm, privateKey }) {
  const claims = Object.fromEntries(
    Object.entries(row.claims).map(([name, value]) =>
      ['exp', 'nbf', 'iat'].includes(name) && typeof value === 'number' ? [name, now + value] : [name, value],
    ),
  );
  const encode = (/** @type {object} */ part) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const signed = `${encode({ alg: algorithm, ...row.header })}.${encode(claims)}`;
  const hash = algorithm === 'EdDSA' ? null : 'sha256';
  const key = /** @type {import('node:crypto').KeyObject} */ (
    typeof privateKey === 'string' ? createPrivateKey(privateKey) : privateKey
  );
  const signature = sign(hash, Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url');
  const named = String(claims.iss);
  return { row, token: `${signed}.${signature}`, claims, issuer: issuers.includes(named) ? named : row.issuer };
}

/**
 * Starts a node that trusts the issuers of all rows and has all their revocations, and a blocklist for each issuer.
 * @param {import('node:test').TestContext} t
 * @param {(issuer: string) => Keys} [keysOf]
 */
async function inForce(t, keysOf = ofTheTable) {
  const keys = Object.fromEntries(issuers.map((issuer) => [issuer, keysOf(issuer)]));
  const of = (/** @type {string} */ issuer) => /** @type {Keys} */ (keys[issuer]);
  const folder = mkdtempSync(join(tmpdir(), 'adieu-verdicts-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const trustedIssuers = issuers.map((name, number) => {
    const file = join(folder, `${number}.pem`);
    writeFileSync(file, of(name).publicKey);
    const settings = Object.entries(table.issuers[name].settings).map(([setting, value]) => `, ${setting} = ${value}`);
    const { key_id: id } = table.issuers[name];
    const keyId = id === undefined ? '' : `, key_id = "${id}"`;
    const revocable = (table.issuers[name].revocable_claims ?? []).map((/** @type {string} */ claim) => `"${claim}"`);
    return `{name = "${name}", pem_file = "${file}"${settings.join('')}, revocable_claims = [${revocable.join()}]${keyId}}`;
  });
  // A bound that a busy machine keeps.
  const node = await Node.start(t, { trusted_issuer: `[${trustedIssuers.join(', ')}]`, max_staleness: '20s' });
  const now = Math.floor(Date.now() / 1000);
  const signed = rows.map((row) => signRow(row, now, of(row.issuer)));
  const revocations = signed.flatMap(({ row, token }) =>
    (row.revoked ?? []).map((revoked) => ('token' in revoked ? { token } : { ...revoked, issuer: row.issuer })),
  );
  const { access } = await node.logInAsAdmin('root');
  const answer = await fetch(`${node.url}/revocations`, {
    method: 'POST',
    headers: { authorization: `Bearer ${access}`, 'content-type': 'application/json' },
    body: JSON.stringify({ revocations }),
  });
  assert.equal(answer.status, 200, await answer.text());
  /** @type {Map<string, import('../src/index.js').Blocklist>} */
  const blocklists = new Map();
  for (const issuer of issuers) blocklists.set(issuer, (await follow(t, node, { issuer, maxStaleness: 20_000 })).blocklist);
  const blocklistOf = (/** @type {string} */ issuer) => {
    const blocklist = blocklists.get(issuer);
    assert.ok(blocklist);
    return blocklist;
  };
  return { node, signed, blocklistOf, publicKeyOf: (/** @type {string} */ issuer) => of(issuer).publicKey };
}

test('isRevoked says what the table says', async (t) => {
  const { signed, blocklistOf } = await inForce(t);
  let asked = 0;
  for (const { row, token, claims, issuer } of signed) {
    const blocklist = blocklistOf(issuer);
    if (row.is_revoked !== undefined) {
      asked += 1;
      const kid = /** @type {string | undefined} */ (row.header.kid);
      assert.equal(blocklist.isRevoked(claims, token, kid), row.is_revoked, row.name);
      if ('jti' in claims) assert.equal(blocklist.isRevoked(claims, undefined, kid), row.is_revoked, row.name);
    }
    if (row.without_token === 'error') assert.throws(() => blocklist.isRevoked(claims), TypeError, row.name);
  }
  assert.ok(asked > 0);
  assert.equal(asked, rows.filter((row) => row.is_revoked !== undefined).length);
});

test('the id of a token without jti is the one in the table', async () => {
  assert.ok(table.token_ids.length > 0);
  for (const { token, token_id: id } of table.token_ids) {
    assert.equal(tokenIdOf(token), id);
    assert.equal(await edge.tokenIdOf(token), id);
  }
});

test('a text that is not a signed token has no id', () => {
  const { token } = table.token_ids[0];
  for (const other of [`Bearer ${token}`, `${token}\n`, ` ${token}`, `${token}.${token}`, 'a.b', 'a..c', '', '\u2603.a.b']) {
    assert.throws(() => tokenIdOf(other), TypeError, other);
  }
});

test('the accepted kinds are a list, not one name', async (t) => {
  const { blocklist } = await follow(t, await Node.start(t));
  // With a string instead of a list, `includes` would search for substrings.
  const types = /** @type {any} */ ('access');
  assert.throws(() => forExpress.isRevoked(blocklist, { types }), TypeError);
  assert.throws(() => forFastify.trusted(blocklist, { types }), TypeError);
  assert.throws(() => assertGood(blocklist, { protectedHeader: { typ: 7 }, payload: {} }, { types }), { message: /^types: must/ });
});

test('a token with two kinds is rejected, and the clock skew can be set', async (t) => {
  const { blocklist } = await follow(t, await Node.start(t));
  const now = Math.floor(Date.now() / 1000);
  const verified = (/** @type {object} */ claims) => ({ protectedHeader: {}, payload: { jti: 'x', exp: now + 900, ...claims } });
  assert.throws(() => assertGood(blocklist, verified({ type: 'access', typ: 'Refresh' }), { types: ['access', 'refresh'] }), /another kind/);
  assertGood(blocklist, verified({ iat: now + 3 }));
  assert.throws(() => assertGood(blocklist, verified({ iat: now + 60 })), /from the future/);
  assertGood(blocklist, verified({ iat: now + 60 }), { skew: 60 });
  for (const skew of /** @type {any[]} */ ([NaN, '3', -1, null])) {
    assert.throws(() => assertGood(blocklist, verified({ iat: now + 60 }), { skew }), { code: 'ADIEU_USAGE' }, String(skew));
  }
});

test('a Verifier gives the verdicts of the table, with their codes', async (t) => {
  const { signed, blocklistOf, publicKeyOf } = await inForce(t);
  /** @type {Record<string, Verifier>} */
  const verifiers = {};
  for (const issuer of issuers) {
    const profile = Object.fromEntries(
      Object.entries(table.issuers[issuer].settings).map(([name, value]) => [SETTINGS[name] ?? assert.fail(name), value]),
    );
    const { key_id: kid } = table.issuers[issuer];
    const key = publicKeyOf(issuer);
    // A fixed key has no id.
    const keys = JSON.stringify({ keys: [{ ...createPublicKey(key).export({ format: 'jwk' }), alg: 'EdDSA', kid }] });
    const source = kid === undefined ? { key, algorithm: 'EdDSA' } : { keysUrl: await serve(t, (_, response) => response.end(keys)) };
    const verifier = new Verifier({ blocklist: blocklistOf(issuer), issuer, profile, cache: {}, ...source });
    t.after(() => verifier.close());
    await verifier.ready();
    verifiers[issuer] = verifier;
  }
  const wrong = [];
  // Twice, because the second time good tokens are remembered.
  for (const { row, token, issuer, claims } of [...signed, ...signed]) {
    let verdict = 'good';
    try {
      assert.deepEqual(verifiers[issuer]?.verify(token), claims);
    } catch (error) {
      const { status, body } = /** @type {import('../src/index.js').AdieuError} */ (error);
      if (status !== 401) throw error;
      verdict = String(body.error);
    }
    if (verdict !== row.verify) wrong.push(`${row.name}: ${verdict}`);
  }
  assert.deepEqual(wrong, []);
});

/** The settings of a node, as those of a profile. @type {Record<string, string>} */
const SETTINGS = {
  accept_generic_type: 'genericType',
  accept_missing_type: 'missingType',
  accept_missing_issuer: 'missingIssuer',
  accept_missing_token_id: 'missingTokenId',
  accept_integer_subject: 'integerSubject',
};

/** @typedef {(token: string) => Promise<number>} Ask resolves with the status */

/** What applications are made for each issuer. @type {Record<string, (t: import('node:test').TestContext, blocklist: import('../src/index.js').Blocklist, issuer: string, key: string, node: Node) => Promise<Ask>>} */
const APPLICATIONS = {
  async '@fastify/jwt'(t, blocklist, issuer, key) {
    const app = fastify();
    app.register(fastifyJwt, {
      secret: { public: key, private: '' },
      // `checkTyp` is an option of fast-jwt that the types of the plugin lack.
      verify: /** @type {any} */ ({
        algorithms: ['EdDSA'],
        allowedIss: issuer,
        requiredClaims: requiredClaims(issuer),
        ...(isStrict(issuer) && { checkTyp: 'at+jwt' }),
      }),
      trusted: forFastify.trusted(blocklist, { getToken: forFastify.bearerToken }),
    });
    app.setErrorHandler(forFastify.refusals());
    app.get('/', { onRequest: (request) => request.jwtVerify() }, () => 'welcome');
    t.after(() => app.close());
    return async (token) => (await app.inject({ url: '/', headers: { authorization: `Bearer ${token}` } })).statusCode;
  },

  async 'express-jwt'(t, blocklist, issuer, key) {
    const app = express();
    const getToken = forExpress.bearerToken;
    const { accept_missing_issuer: isNameless } = table.issuers[issuer].settings;
    app.use(
      expressjwt({
        secret: key,
        algorithms: ['ES256'],
        ...(!isNameless && { issuer }),
        getToken,
        isRevoked: forExpress.isRevoked(blocklist, { getToken }),
      }),
    );
    app.get('/', (_, response) => void response.send('welcome'));
    app.use(forExpress.refusals());
    const server = app.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
    return async (token) => (await fetch(`http://127.0.0.1:${port}/`, { headers: { authorization: `Bearer ${token}` } })).status;
  },

  async jose(_, blocklist, issuer, pem) {
    return askJose(issuer, pem, (verified, token) => assertGood(blocklist, verified, { token }));
  },

  async 'jose, at the edge'(_, _blocklist, issuer, pem, node) {
    const clientId = `edge-${issuers.indexOf(issuer)}`;
    const blocklist = new edge.Blocklist({ url: node.url, clientId, secret: node.addClient(clientId), issuer });
    return askJose(issuer, pem, (verified, token) => edge.assertGood(blocklist, verified, { token }));
  },
};

/**
 * @param {string} issuer
 * @param {string} pem
 * @param {(verified: import('jose').JWTVerifyResult, token: string) => unknown} assertGood
 * @returns {Ask}
 */
function askJose(issuer, pem, assertGood) {
  const key = createPublicKey(pem);
  const { accept_missing_issuer: isNameless } = table.issuers[issuer].settings;
  const options = {
    algorithms: ['EdDSA'],
    requiredClaims: requiredClaims(issuer),
    ...(!isNameless && { issuer }),
    ...(isStrict(issuer) && { typ: 'at+jwt' }),
  };
  return async (token) => {
    try {
      await assertGood(await jwtVerify(token, key, options), token);
      return 200;
    } catch (error) {
      // Errors of jose have no status; no other error is thrown.
      if (error instanceof errors.JOSEError) return 401;
      return /** @type {{ status?: number }} */ (error).status ?? 500;
    }
  };
}

/** @param {string} issuer */
function requiredClaims(issuer) {
  const { settings } = table.issuers[issuer];
  return ['exp', 'sub', ...(settings.accept_missing_issuer ? [] : ['iss']), ...(settings.accept_missing_token_id ? [] : ['jti'])];
}

/** @param {string} issuer */
function isStrict(issuer) {
  const { settings } = table.issuers[issuer];
  return !settings.accept_generic_type && !settings.accept_missing_type;
}

for (const [name, make] of Object.entries(APPLICATIONS)) {
  test(`the integration for ${name} accepts the good tokens of the table, and no others`, async (t) => {
    const { node, signed, blocklistOf, publicKeyOf } = await inForce(t, name === 'express-jwt' ? es256 : ofTheTable);
    /** @type {Record<string, Ask>} */
    const ask = {};
    for (const issuer of issuers) ask[issuer] = await make(t, blocklistOf(issuer), issuer, publicKeyOf(issuer), node);
    const skipped = SKIPPED[name] ?? {};
    const names = new Set(rows.map(({ name }) => name));
    for (const name of Object.keys(skipped)) assert.ok(names.has(name), `a row that is no longer there: ${name}`);
    let asked = 0;
    const wrong = [];
    for (const { row, token, issuer } of signed) {
      if (row.name in skipped) continue;
      asked += 1;
      const status = await ask[issuer]?.(token);
      if (status !== (row.verify === 'good' ? 200 : 401)) wrong.push(`${row.name}: ${status}`);
    }
    assert.deepEqual(wrong, []);
    assert.equal(asked + Object.keys(skipped).length, rows.length);
  });
}
