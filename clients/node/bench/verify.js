/**
 * Measures how long it takes to verify a token and to check it for revocation, beside other libraries: `node bench/verify.js`.
 *
 * All take turns in one process, on the same tokens and the same blocklist, which follows a server on loopback that knows 100,000
 * revocations. Times are of the processor; the table has the medians of the turns.
 */

import { createHmac, createPublicKey, createSecretKey, generateKeyPairSync, randomUUID, sign, timingSafeEqual, verify } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';

import { createVerifier } from 'fast-jwt';
import { jwtVerify } from 'jose';
import jsonwebtoken from 'jsonwebtoken';

import { Blocklist, Verifier } from '../src/index.js';
import { writePage } from '../src/page-writer.js';

const REVOCATIONS = 100_000;
const PAGE = 8192;
const TURNS = 9;
const ISSUER = 'https://shop.example';
const NOW = Math.floor(Date.now() / 1000);

const SECRET = 'a secret of an application, as it is in its environment';
const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const PEM = publicKey.export({ type: 'spki', format: 'pem' }).toString();

/** How often each verifies in a turn, and how many tokens there are. */
const SIZES = { HS256: { calls: 10_000, tokens: 2000 }, EdDSA: { calls: 600, tokens: 200 } };

/** @typedef {keyof typeof SIZES} Algorithm */
/** @typedef {(token: string) => unknown} Verify returns the claims, or a promise of them; throws if the token is revoked */

const { blocklist, close } = await follow();
const columns = { HS256: await compare('HS256'), EdDSA: await compare('EdDSA') };
close();

console.log('| µs a token, with `isRevoked` | HS256 | to by hand | EdDSA | to by hand |\n|---|---|---|---|---|');
for (const name of Object.keys(columns.HS256)) {
  const cells = Object.values(columns).flatMap((column) => {
    const [time, byHand] = [column[name], column['node:crypto by hand']];
    return time === undefined || byHand === undefined ? ['', ''] : [time.toFixed(1), `${(time / byHand).toFixed(2)}×`];
  });
  console.log(`| ${name} | ${cells.join(' | ')} |`);
}

/** Returns the median time for each library. @param {Algorithm} algorithm */
async function compare(algorithm) {
  const { calls, tokens: count } = SIZES[algorithm];
  const tokens = Array.from({ length: count }, () => makeToken(algorithm));
  const libraries = Object.entries(librariesFor(algorithm));
  /** @type {Map<string, number[]>} */
  const times = new Map(libraries.map(([name]) => [name, []]));
  // The first turn is a warm-up.
  for (let turn = 0; turn <= TURNS; turn += 1) {
    for (const [name, verifyToken] of libraries) {
      const { user, system } = process.cpuUsage();
      for (let call = 0; call < calls; call += 1) {
        const claims = verifyToken(/** @type {string} */ (tokens[call % count]));
        if (claims instanceof Promise) await claims;
      }
      const after = process.cpuUsage();
      if (turn > 0) times.get(name)?.push((after.user - user + after.system - system) / calls);
    }
  }
  return Object.fromEntries([...times].map(([name, all]) => [name, /** @type {number} */ (all.sort((a, b) => a - b)[TURNS >> 1])]));
}

/** @param {Algorithm} algorithm @returns {Record<string, Verify>} */
function librariesFor(algorithm) {
  const isSecret = algorithm === 'HS256';
  const key = isSecret ? createSecretKey(Buffer.from(SECRET)) : createPublicKey(PEM);
  const text = isSecret ? SECRET : PEM;
  const settings = { blocklist, issuer: ISSUER, key, algorithm };
  const verifier = new Verifier(settings);
  const remembering = new Verifier({ ...settings, cache: {} });
  const fast = { key: text, algorithms: [algorithm], allowedIss: ISSUER };
  const fastVerifier = createVerifier(fast);
  const fastRemembering = createVerifier({ ...fast, cache: 10_000 });
  return {
    'node:crypto by hand': (token) => accepted(isSecret ? byHand(token, key) : byHandPublic(token, key)),
    '`Verifier`': (token) => verifier.verify(token),
    '`Verifier`, remembered': (token) => remembering.verify(token),
    'fast-jwt': (token) => accepted(fastVerifier(token)),
    'fast-jwt, remembered': (token) => accepted(fastRemembering(token)),
    'jose': async (token) => accepted((await jwtVerify(token, key, { issuer: ISSUER, algorithms: [algorithm] })).payload),
    // It has no EdDSA.
    ...(isSecret && {
      'jsonwebtoken, `KeyObject`': (/** @type {string} */ token) => accepted(jsonwebtoken.verify(token, key, { issuer: ISSUER, algorithms: ['HS256'] })),
      'jsonwebtoken, text': (/** @type {string} */ token) => accepted(jsonwebtoken.verify(token, SECRET, { issuer: ISSUER, algorithms: ['HS256'] })),
    }),
  };
}

/** The least that somebody writes who has one key. @param {string} token @param {import('node:crypto').KeyObject} key */
function byHand(token, key) {
  const [header, payload, signature] = /** @type {[string, string, string]} */ (token.split('.'));
  const tag = createHmac('sha256', key).update(`${header}.${payload}`).digest();
  const given = Buffer.from(signature, 'base64url');
  if (given.length !== tag.length || !timingSafeEqual(given, tag)) throw new Error('the signature is wrong');
  return checked(payload);
}

/** @param {string} token @param {import('node:crypto').KeyObject} key */
function byHandPublic(token, key) {
  const [header, payload, signature] = /** @type {[string, string, string]} */ (token.split('.'));
  if (!verify(null, Buffer.from(`${header}.${payload}`), key, Buffer.from(signature, 'base64url'))) throw new Error('the signature is wrong');
  return checked(payload);
}

/** @param {string} payload */
function checked(payload) {
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString());
  if (claims.exp <= Date.now() / 1000 || claims.iss !== ISSUER) throw new Error('the claims are wrong');
  return claims;
}

/** @param {any} claims */
function accepted(claims) {
  if (blocklist.isRevoked(claims)) throw new Error('the token is revoked');
  return claims;
}

/** @param {Algorithm} algorithm */
function makeToken(algorithm) {
  const encode = (/** @type {object} */ part) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const claims = { iss: ISSUER, sub: randomUUID(), jti: randomUUID(), sid: randomUUID(), iat: NOW, exp: NOW + 3600, type: 'access' };
  const input = `${encode({ alg: algorithm, typ: 'at+jwt' })}.${encode(claims)}`;
  const signature =
    algorithm === 'HS256' ? createHmac('sha256', SECRET).update(input).digest() : sign(null, Buffer.from(input), privateKey);
  // Flat, like a text that comes from a request.
  return Buffer.from(`${input}.${signature.toString('base64url')}`).toString('latin1');
}

/** Follows a server that has some pages, and then nothing new. */
async function follow() {
  let served = 0;
  const server = http.createServer((_, response) => {
    if (served >= REVOCATIONS) return;
    const isFirst = served === 0;
    const count = Math.min(PAGE, REVOCATIONS - served);
    served += count;
    const isLast = served === REVOCATIONS;
    const entries = Array.from({ length: count }, (_, at) => ({
      issuer: ISSUER,
      kind: /** @type {'token' | 'session'} */ (at % 2 ? 'token' : 'session'),
      id: randomUUID(),
      issuedUntil: 0,
      lapsesAt: NOW + 3720,
    }));
    response.end(writePage(entries, { flags: Number(isLast) + 2 * Number(isFirst), position: served }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  const blocklist = new Blocklist({ url: `http://127.0.0.1:${port}`, clientId: 'bench', secret: 'none', maxStaleness: 3_600_000 });
  await blocklist.ready();
  const close = () => {
    blocklist.close();
    server.close();
    server.closeAllConnections();
  };
  return { blocklist, close };
}
