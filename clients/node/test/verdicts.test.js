/** The table of verdicts that every implementation reads: `tests/verdicts.md` says what it means. */

import assert from 'node:assert/strict';
import { sign } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import fastifyJwt from '@fastify/jwt';
import fastify from 'fastify';

import { refusals, bearerToken, trusted } from '../src/fastify-jwt.js';
import { tokenIdOf } from '../src/index.js';
import { Node, follow } from './support/node.js';

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

/** @typedef {{ row: Row, token: string, claims: Record<string, any>, issuer: string }} Signed `issuer`: whose rules it is held against */

const table = JSON.parse(readFileSync(new URL('../../../tests/verdicts.json', import.meta.url), 'utf8'));
/** @type {Row[]} */
const rows = table.rows;
/** @type {string[]} */
const issuers = Object.keys(table.issuers);

const NO_KIND = 'what names no kind is taken for an access token, unless the library requires one';
const SUBJECT = 'a number as sub is accepted, unless the library requires a text';
const TIMES = '@fastify/jwt checks the times, with one tolerance for exp and nbf and none for iat';

/** Rows about what the glue can't judge, and the reason. @type {Record<string, string>} */
const SKIPPED = {
  'nothing says what it is': NO_KIND,
  'bearer says as much as nothing': NO_KIND,
  'an integer subject, which is not accepted': SUBJECT,
  'nbf is a fraction that has passed or is about to': TIMES,
  'iat and nbf are two seconds ahead': TIMES,
  'iat is a minute ahead': TIMES,
};

/** @param {Row} row @param {number} now @returns {Signed} */
function signRow(row, now) {
  const claims = Object.fromEntries(
    Object.entries(row.claims).map(([name, value]) =>
      ['exp', 'nbf', 'iat'].includes(name) && typeof value === 'number' ? [name, now + value] : [name, value],
    ),
  );
  const encode = (/** @type {object} */ part) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const signed = `${encode({ alg: 'EdDSA', ...row.header })}.${encode(claims)}`;
  const signature = sign(null, Buffer.from(signed), table.issuers[row.issuer].private_key).toString('base64url');
  return { row, token: `${signed}.${signature}`, claims, issuer: typeof claims.iss === 'string' ? claims.iss : row.issuer };
}

/**
 * All rows, and all their revocations, at a node that trusts their issuers; and what follows it for each.
 * @param {import('node:test').TestContext} t
 */
async function inForce(t) {
  const folder = mkdtempSync(join(tmpdir(), 'adieu-verdicts-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const trustedIssuers = issuers.map((name, number) => {
    const file = join(folder, `${number}.pem`);
    writeFileSync(file, table.issuers[name].public_key);
    const settings = Object.entries(table.issuers[name].settings).map(([setting, value]) => `, ${setting} = ${value}`);
    return `{name = "${name}", pem_file = "${file}"${settings.join('')}}`;
  });
  const node = await Node.start(t, { trusted_issuer: `[${trustedIssuers.join(', ')}]` });
  const now = Math.floor(Date.now() / 1000);
  const signed = rows.map((row) => signRow(row, now));
  const revocations = signed.flatMap(({ row, token }) =>
    (row.revoked ?? []).map((revoked) => ('token' in revoked ? { token } : { ...revoked, issuer: row.issuer })),
  );
  const basic = Buffer.from(`table:${node.addClient('table')}`).toString('base64');
  const answer = await fetch(`${node.url}/revocations`, {
    method: 'POST',
    headers: { authorization: `Basic ${basic}`, 'content-type': 'application/json' },
    body: JSON.stringify({ revocations }),
  });
  assert.equal(answer.status, 200, await answer.text());
  /** @type {Map<string, import('../src/index.js').Blocklist>} */
  const blocklists = new Map();
  for (const issuer of issuers) blocklists.set(issuer, (await follow(t, node, { issuer })).blocklist);
  const blocklistOf = (/** @type {string} */ issuer) => {
    const blocklist = blocklists.get(issuer);
    assert.ok(blocklist);
    return blocklist;
  };
  return { signed, blocklistOf };
}

test('isRevoked says what the table says', async (t) => {
  const { signed, blocklistOf } = await inForce(t);
  let asked = 0;
  for (const { row, token, claims, issuer } of signed) {
    const blocklist = blocklistOf(issuer);
    if (row.is_revoked !== undefined) {
      asked += 1;
      assert.equal(blocklist.isRevoked(claims, token), row.is_revoked, row.name);
      if ('jti' in claims) assert.equal(blocklist.isRevoked(claims), row.is_revoked, row.name);
    }
    if (row.without_token === 'error') assert.throws(() => blocklist.isRevoked(claims), TypeError, row.name);
  }
  assert.ok(asked > 0);
  assert.equal(asked, rows.filter((row) => row.is_revoked !== undefined).length);
});

test('what stands for a token without jti is what the table says', () => {
  assert.ok(table.token_ids.length > 0);
  for (const { token, token_id: id } of table.token_ids) assert.equal(tokenIdOf(token), id);
});

test('the glue for @fastify/jwt lets in what the table calls good, and nothing else', async (t) => {
  const { signed, blocklistOf } = await inForce(t);
  /** @type {Map<string, import('fastify').FastifyInstance>} */
  const apps = new Map();
  for (const name of issuers) {
    const { settings, public_key: key } = table.issuers[name];
    const requiredClaims = ['exp', 'sub', ...(settings.accept_missing_issuer ? [] : ['iss']), ...(settings.accept_missing_token_id ? [] : ['jti'])];
    const isStrict = !settings.accept_generic_type && !settings.accept_missing_type;
    const app = fastify();
    app.register(fastifyJwt, {
      secret: { public: key, private: '' },
      // `checkTyp` is fast-jwt's, and not among the types of the plugin.
      verify: /** @type {any} */ ({ algorithms: ['EdDSA'], allowedIss: name, requiredClaims, ...(isStrict && { checkTyp: 'at+jwt' }) }),
      trusted: trusted(blocklistOf(name), { getToken: bearerToken }),
    });
    app.setErrorHandler(refusals());
    app.get('/', { onRequest: (request) => request.jwtVerify() }, () => 'welcome');
    apps.set(name, app);
    t.after(() => app.close());
  }
  const names = new Set(rows.map(({ name }) => name));
  for (const name of Object.keys(SKIPPED)) assert.ok(names.has(name), `a row that is no longer there: ${name}`);
  let asked = 0;
  for (const { row, token, issuer } of signed) {
    if (row.name in SKIPPED) continue;
    asked += 1;
    const answer = await apps.get(issuer)?.inject({ url: '/', headers: { authorization: `Bearer ${token}` } });
    assert.equal(answer?.statusCode, row.verify === 'good' ? 200 : 401, `${row.name}: ${answer?.body}`);
  }
  assert.equal(asked + Object.keys(SKIPPED).length, rows.length);
});
