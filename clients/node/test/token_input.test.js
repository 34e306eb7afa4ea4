/** What anybody can send as a token: nothing but the right ones is accepted, as at a node, and no error is thrown that is not declared. */

import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { Blocklist, InvalidClaimsError, TokenError, Verifier } from '../src/index.js';
import { Node, claimsOf, follow } from './support/node.js';
import { ACCESS, SECRET, claims, encoded, hmac, keyPair, signedText, token } from './support/tokens.js';

/** @typedef {import('./support/tokens.js').Signer} Signer */

const ALGORITHMS = ['HS256', 'HS384', 'HS512', 'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'EdDSA'];

/** How many tokens with random changes are judged. */
const ROUNDS = Number(process.env.ROUNDS ?? 1000);

/** @param {string} algorithm @returns {Signer} */
const signerFor = (algorithm) => (algorithm.startsWith('HS') ? hmac(/** @type {'HS256'} */ (algorithm)) : keyPair(algorithm));

/**
 * Creates verifiers on one blocklist.
 * @param {import('node:test').TestContext} t
 */
async function makeVerifiers(t) {
  // A long bound: these tests make keys and thousands of tokens without a pause in which a follower could read.
  const { blocklist } = await follow(t, await Node.start(t, { max_staleness: '60s' }), { issuer: 'shop', maxStaleness: 60_000 });
  return (/** @type {Signer} */ signer, /** @type {Partial<import('../src/index.js').SharedVerifierOptions>} */ options = {}) =>
    new Verifier({ blocklist, issuer: 'shop', key: signer.public, algorithm: signer.algorithm, ...options });
}

/** Returns whether a token lives longer than a node accepts of an issuer by default; a verifier does not limit this. @param {string} input */
function livesLong(input) {
  const { iat = Math.floor(Date.now() / 1000), exp } = claimsOf(input);
  return Math.floor(exp) > Math.floor(iat) + 31 * 86_400;
}

/**
 * Starts a node that trusts an issuer, and creates a verifier of its tokens. `ask` compares what both say about a token, and returns it: `good`
 * or a code.
 * @param {import('node:test').TestContext} t
 * @param {{ claim?: string }} [options] the claim of the subject
 */
async function besideNode(t, { claim = 'sub' } = {}) {
  const signer = keyPair('EdDSA');
  const folder = mkdtempSync(join(tmpdir(), 'adieu-input-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'key.pem');
  writeFileSync(file, signer.public.export({ type: 'spki', format: 'pem' }));
  const node = await Node.start(t, { max_staleness: '60s', trusted_issuer: `[{name = "shop", pem_file = "${file}", subject_claim = "${claim}"}]` });
  const { blocklist } = await follow(t, node, { maxStaleness: 60_000, subjectClaim: claim });
  const verifier = new Verifier({ blocklist, issuer: 'shop', key: signer.public, algorithm: 'EdDSA' });
  const ask = async (/** @type {string} */ input, /** @type {string} */ name) => {
    const answer = await fetch(`${node.url}/verify`, { headers: { authorization: `Bearer ${input}` } });
    const { error = 'good' } = answer.status === 401 ? /** @type {any} */ (await answer.json()) : { error: answer.ok ? 'good' : answer.status };
    let verdict = 'good';
    try {
      verifier.verify(input);
    } catch (thrown) {
      verdict = /** @type {any} */ (thrown).body?.error ?? String(thrown);
    }
    if (verdict !== 'invalid_token' && livesLong(input)) verdict = 'invalid_token';
    assert.equal(verdict, error, `${name} (expected: what the node says)`);
    return verdict;
  };
  return { signer, verifier, ask };
}

/**
 * Returns the message of the rejection; fails if it is none, or another error than a 401.
 * @param {Verifier} verifier
 * @param {unknown} input
 * @param {string} [name]
 */
function rejection(verifier, input, name = String(input).slice(0, 200)) {
  try {
    verifier.verify(input);
  } catch (error) {
    assert.ok(error instanceof TokenError || error instanceof InvalidClaimsError, `${error} about ${name}`);
    assert.equal(error.status, 401);
    assert.equal(error.code, error instanceof TokenError ? 'ADIEU_TOKEN' : 'ADIEU_CLAIMS');
    return error.message;
  }
  assert.fail(`accepted: ${name}`);
}

test('a token of each algorithm is accepted by its key, and by no other', async (t) => {
  const make = await makeVerifiers(t);
  const signers = ALGORITHMS.map(signerFor);
  const payload = claims();
  for (const signer of signers) {
    const verifier = make(signer);
    assert.deepEqual(verifier.verify(token(signer, ACCESS, payload)), payload);
    for (const other of signers) {
      if (other === signer) continue;
      assert.match(rejection(verifier, token(other, ACCESS, payload)), /algorithm/);
      // With the algorithm that is expected, and the signature of the other.
      const input = `${encoded({ alg: signer.algorithm, ...ACCESS })}.${encoded(payload)}`;
      assert.match(rejection(verifier, signedText(other, input)), /signature/, `${signer.algorithm} by ${other.algorithm}`);
    }
    const stranger = 'equals' in Object(signer.public) ? keyPair(signer.algorithm) : hmac(/** @type {any} */ (signer.algorithm), 'z'.repeat(64));
    assert.match(rejection(verifier, token(stranger, ACCESS, payload)), /signature/);
  }
  const [ed25519] = signers.slice(-1);
  assert.ok(ed25519);
  make(ed25519).verify(token(ed25519, { alg: 'Ed25519', ...ACCESS }, payload));
});

test('a public key is not taken for a secret, and none is not an algorithm', async (t) => {
  const make = await makeVerifiers(t);
  for (const algorithm of ['RS256', 'ES256', 'EdDSA']) {
    const signer = keyPair(algorithm);
    const pem = signer.public.export({ type: 'spki', format: 'pem' }).toString();
    for (const verifier of [make(signer), make({ ...signer, public: pem })]) {
      verifier.verify(token(signer, ACCESS, claims()));
      for (const secret of [pem, pem.trim(), signer.public.export({ type: 'spki', format: 'der' }).toString('latin1')]) {
        rejection(verifier, token(hmac('HS256', secret), ACCESS, claims()));
        rejection(verifier, token({ ...hmac('HS256', secret), algorithm }, ACCESS, claims()));
      }
    }
  }
  const verifier = make(hmac());
  const payload = encoded(claims());
  for (const alg of ['none', 'None', 'NONE', 'nOnE', '', ' HS256', 'hs256', 'HS', 'HS1', 'A128KW', 'dir', 'constructor', '__proto__', 'toString']) {
    for (const signature of ['', encoded('x'), encoded(hmac().sign(Buffer.from(`${encoded({ alg, ...ACCESS })}.${payload}`)))]) {
      assert.match(rejection(verifier, `${encoded({ alg, ...ACCESS })}.${payload}.${signature}`), /algorithm/, alg);
    }
  }
  for (const alg of [null, 7, true, {}, ['HS256'], undefined]) rejection(verifier, token(hmac(), { ...ACCESS, alg }, claims()));
});

test('a token with any character changed, added or removed is rejected', async (t) => {
  const make = await makeVerifiers(t);
  for (const algorithm of ['HS256', 'EdDSA', 'ES256']) {
    const signer = signerFor(algorithm);
    const good = token(signer, ACCESS, claims());
    // What has been verified before must not make a difference.
    const verifiers = [make(signer), make(signer, { cache: {} })];
    for (const verifier of verifiers) verifier.verify(good);
    for (let at = 0; at <= good.length; at += 1) {
      const [before, here, after] = [good.slice(0, at), good.slice(at, at + 1), good.slice(at + 1)];
      // The last one has the same low byte as the character that was there.
      const others = [here === 'A' ? 'B' : 'A', '.', '=', '+', '/', ' ', '\n', '\0', '\u2603', '', String.fromCharCode(0x100 + here.charCodeAt(0))];
      for (const other of others) {
        if (here === other || (here === '' && (other === '' || other === '\u0100'))) continue;
        for (const verifier of verifiers) rejection(verifier, before + other + after);
      }
      for (const more of ['A', '.', '=', ' ']) for (const verifier of verifiers) rejection(verifier, before + more + here + after);
    }
    for (const wrong of [`Bearer ${good}`, ` ${good}`, `${good}\n`, `${good}=`, `${good}==`, `${good}.`, `.${good}`, `${good}.${good}`, good.repeat(2)]) {
      for (const verifier of verifiers) rejection(verifier, wrong);
    }
    const [header, payload, signature] = /** @type {[string, string, string]} */ (good.split('.'));
    for (const wrong of [header, `${header}.`, `${header}.${payload}`, `${header}.${payload}.`, `.${payload}.${signature}`, `${header}..${signature}`, '..', '.', '...']) {
      for (const verifier of verifiers) rejection(verifier, wrong);
    }
    for (const verifier of verifiers) verifier.verify(good);
  }
});

test('another spelling of the same signature is rejected', async (t) => {
  const make = await makeVerifiers(t);
  for (const algorithm of ['HS256', 'EdDSA', 'ES256', 'RS256']) {
    const signer = signerFor(algorithm);
    const verifier = make(signer);
    const good = token(signer, ACCESS, claims());
    verifier.verify(good);
    // Unused bits of the last character: each signature here has some.
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const last = alphabet.indexOf(good.slice(-1));
    const bytes = (/** @type {string} */ text) => Buffer.from(text, 'base64url');
    const other = good.slice(0, -1) + alphabet[last + 1];
    assert.deepEqual(bytes(other.split('.')[2] ?? ''), bytes(good.split('.')[2] ?? ''));
    assert.match(rejection(verifier, other), /signature/);
  }
});

test('an input that is not a text, or too long, is rejected', async (t) => {
  const make = await makeVerifiers(t);
  const verifier = make(hmac(), { cache: {} });
  for (const nothing of [undefined, null, '']) assert.match(rejection(verifier, nothing), /no token/);
  for (const other of [0, 7, NaN, true, false, {}, [], ['a.b.c'], () => {}, Symbol('a'), 7n, Buffer.from('a.b.c'), new Date(), { toString: () => 'a.b.c' }]) {
    rejection(verifier, other);
  }
  const sized = (/** @type {number} */ length) => {
    // Four characters of a token are three bytes of the payload.
    const payload = claims({ filling: '' });
    const short = token(hmac(), ACCESS, payload).length;
    for (let more = Math.floor(((length - short) * 3) / 4) - 4; ; more += 1) {
      const found = token(hmac(), ACCESS, { ...payload, filling: 'x'.repeat(more) });
      if (found.length >= length) return found;
    }
  };
  const longest = sized(8191);
  assert.ok(longest.length <= 8192);
  assert.equal(verifier.verify(longest).iss, 'shop');
  assert.match(rejection(verifier, sized(8193)), /too long/);
  assert.match(rejection(verifier, 'x'.repeat(10_000_000)), /too long/);
  assert.match(rejection(verifier, '.'.repeat(10_000_000)), /too long/);
  rejection(verifier, '.'.repeat(8192));
  rejection(verifier, '\u2603'.repeat(8192));
  rejection(verifier, `${encoded({ alg: 'HS256' })}.${'A'.repeat(8000)}.`);
  rejection(verifier, `${'A'.repeat(8000)}.${encoded('{}')}.A`);
});

test('JSON that another parser would read differently is rejected, in a header and in claims', async (t) => {
  const { signer, verifier, ask } = await besideNode(t);
  const payload = JSON.stringify(claims());
  const more = (/** @type {string} */ members) => `${payload.slice(0, -1)},${members}}`;
  const accepted = {
    'white space': ` \t\r\n${more(' "a" :\t{ "b" : [ 1 , "x:y" , true , null ] } ')} `,
    'names that differ in case': more('"a":1,"A":2'),
    'a colon and a quote in a text': more(String.raw`"a":"\":\"\\","b":"{\\\"[","\\":1`),
    'a name that is repeated further inside': more('"a":{"exp":1,"a":1},"b":{"a":1}'),
    'a name that JavaScript knows': more('"__proto__":{"iss":"other"},"constructor":1,"toString":2'),
    'escapes': more(String.raw`"a":"\u0000\ud83d\ude00\\ud800"`),
    'as many members as there may be': more(Array.from({ length: 123 }, (_, at) => `"m${at}":${at}`).join()),
    'nested as deeply as it may be': more(`"a":${'['.repeat(126)}${']'.repeat(126)}`),
    'the largest number': more('"a":1.7976931348623157e308,"b":-0,"c":123456789012345678901234567890'),
    'a replacement character': more('"a":"\uFFFD"'),
  };
  for (const [name, text] of Object.entries(accepted)) {
    const good = token(signer, ACCESS, text);
    assert.deepEqual(verifier.verify(good), JSON.parse(text), name);
    assert.equal(await ask(good, name), 'good', name);
  }

  const rejected = {
    'a name twice': more('"a":1,"a":1'),
    'a name twice, once with an escape': more(String.raw`"a":1,"\u0061":1`),
    'a claim twice': more('"exp":4000000000'),
    'a claim twice, hidden behind a text': more(String.raw`"x":"\\","exp" : 4000000000,"y":"\":"`),
    '__proto__ twice': more('"__proto__":1,"__proto__":2'),
    'a number that is too large': more('"a":1e309'),
    'a number that is too large, further inside': more('"a":[{"b":-1e400}]'),
    'a number with more digits than there are': more(`"a":1${'0'.repeat(400)}`),
    'half of a surrogate pair': more(String.raw`"a":"\ud800"`),
    'half of a surrogate pair in a name': more(String.raw`"\\\udfff":1`),
    'two halves the wrong way round': more(String.raw`"a":"\ude00\ud83d"`),
    'too many members': more(Array.from({ length: 124 }, (_, at) => `"m${at}":${at}`).join()),
    'nested too deeply': more(`"a":${'['.repeat(127)}${']'.repeat(127)}`),
    'nested very deeply': more(`"a":${'['.repeat(2500)}${']'.repeat(2500)}`),
    'nested very deeply in objects': more(`"a":${'{"a":'.repeat(800)}1${'}'.repeat(800)}`),
    'a comma at the end': more(''),
    'a comment': more('"a":1/**/'),
    'a byte order mark': `\uFEFF${payload}`,
    'something after it': `${payload}{}`,
    'a zero after it': `${payload}\0`,
    'cut off': payload.slice(0, -1),
    'a list': `[${payload}]`,
    'a text': JSON.stringify(payload),
    'a number': '7',
    'null': 'null',
    'nothing': '',
    'single quotes': payload.replaceAll('"', "'"),
    'NaN': more('"a":NaN'),
    'a hexadecimal number': more('"a":0x10'),
    'a number with a zero before it': more('"a":010'),
    'a line break in a text': more('"a":"\n"'),
  };
  const isInvalid = async (/** @type {string} */ input, name = input) => assert.equal(await ask(input, name), 'invalid_token', name);
  for (const [name, text] of Object.entries(rejected)) await isInvalid(token(signer, ACCESS, text), name);
  const header = `{"alg":"EdDSA","typ":"at+jwt"`;
  assert.equal(await ask(token(signer, `${header}}`, claims()), 'a header as text'), 'good');
  for (const members of ['"alg":"EdDSA"', '"typ":"at+jwt"', '"a":1,"a":2', '"a":1e400', String.raw`"a":"\ud800"`, `"a":${'['.repeat(127)}${']'.repeat(127)}`]) {
    await isInvalid(token(signer, `${header},${members}}`, claims()), members);
  }
  for (const text of ['', '7', 'null', '[]', '"EdDSA"', '{', '{}', '[{"alg":"EdDSA"}]']) await isInvalid(token(signer, text, claims()), text);

  const latin = Buffer.from(more('"a":"\u00e9"'), 'latin1');
  for (const bytes of [latin, Buffer.from(more('"a":"\uFFFD"')).subarray(0, -3), Buffer.concat([Buffer.from(payload), Buffer.from([0xff])]), randomBytes(300), Buffer.from(payload, 'utf16le')]) {
    await isInvalid(token(signer, ACCESS, bytes));
    await isInvalid(token(signer, bytes, claims()));
  }
  // A signed payload in base64url that is not canonical.
  const head = encoded({ alg: 'EdDSA', ...ACCESS });
  const good = encoded(claims());
  for (const wrong of [`${good}=`, `${good}\n`, `=${good}`, `${good.slice(0, 8)}+${good.slice(9)}`, `${good}A`, `${good}AAAAA`, `${good} `, `${good}\u0141`]) {
    rejection(verifier, signedText(signer, `${head}.${wrong}`));
    rejection(verifier, signedText(signer, `${head}=.${good}`));
  }
});

test('a header that asks for more than a signature is rejected', async (t) => {
  const { signer, ask } = await besideNode(t);
  const harmless = { cty: 'JWT', x5u: 'https://a.example', x5c: ['a'], x5t: 'a', url: '', more: { a: [1] } };
  assert.equal(await ask(token(signer, { ...ACCESS, ...harmless }, claims()), 'harmless'), 'good');
  for (const [parameter, values] of Object.entries({
    crit: [['exp'], [], 'exp', null],
    b64: [true, false],
    jwk: [{ kty: 'oct', k: encoded(SECRET) }, null],
    enc: ['A128GCM'],
    zip: ['DEF'],
    kid: [7, null, {}, ['a'], 'k'.repeat(257), '\u2603'.repeat(86)],
    typ: [7, null, ['at+jwt'], '', 'at+jwt ', 'access', 'logout+jwt', 'application/application/at+jwt', 'at+\u212awt'],
    cty: [7],
    jku: [{}],
    x5c: ['a', [7]],
    x5t: [null],
    url: [false],
    nonce: [[]],
  })) {
    for (const value of values) {
      const name = `${parameter}: ${JSON.stringify(value)}`;
      assert.equal(await ask(token(signer, { ...ACCESS, [parameter]: value }, claims()), name), 'invalid_token', name);
    }
  }
});

test('a claim of the wrong type or form is rejected', async (t) => {
  const make = await makeVerifiers(t);
  const verifiers = [make(hmac()), make(hmac(), { profile: 'plain' })];
  const { signer, ask } = await besideNode(t);
  const now = Math.floor(Date.now() / 1000);
  const no = undefined;
  for (const [claim, values] of Object.entries({
    iss: ['other', '', 'Shop', 'shop ', null, 7, ['shop'], {}, true],
    sub: ['', null, true, [], {}, 1.5, 2 ** 53, 'x'.repeat(513), '\u2603'.repeat(171), no],
    jti: ['', null, 7, true, ['a'], {}, 'x'.repeat(513)],
    sid: ['', null, 7, false, ['a'], {}, 'x'.repeat(513)],
    aud: ['shop', ['shop'], [], '', null, 7, {}, [7], [['shop']]],
    exp: [no, null, '', 'soon', String(now + 300), true, [], [now + 300], {}, -1, now * 1000, 253_402_300_800, 1e300],
    nbf: [null, '', 'now', true, [], {}, -1, now * 1000],
    iat: [null, '', 'now', true, [], {}, -1, now * 1000],
    fresh: [null, 'yes', [], {}, -1, now * 1000],
    type: ['refresh_', 'id', '', null, 7, true, [], {}, ['access'], 'acce\u017fs'],
    token_type: ['id', null, 7],
    token_use: ['id', null, 7],
    typ: ['ID', null, 7, 'application/at+jwt'],
  })) {
    for (const value of values) {
      const name = `${claim}: ${JSON.stringify(value)?.slice(0, 100)}`;
      for (const verifier of verifiers) rejection(verifier, token(hmac(), ACCESS, claims({ [claim]: value })), name);
      assert.equal(await ask(token(signer, ACCESS, claims({ [claim]: value })), name), 'invalid_token', name);
    }
  }
  for (const different of [{ type: 'refresh', token_type: 'access' }, { type: 'access', token_use: 'refresh' }, { token_type: 'refresh', typ: 'at+jwt' }]) {
    for (const header of [ACCESS, {}, { typ: 'rt+jwt' }]) {
      for (const verifier of verifiers) rejection(verifier, token(hmac(), header, claims(different)), JSON.stringify(different));
    }
    assert.equal(await ask(token(signer, ACCESS, claims(different)), 'different kinds'), 'invalid_token');
  }
  const [strict, plain] = /** @type {[Verifier, Verifier]} */ (verifiers);
  for (const [claim, value] of /** @type {[string, unknown][]} */ ([['iss', no], ['jti', no], ['sub', 7]])) {
    rejection(strict, token(hmac(), ACCESS, claims({ [claim]: value })));
    plain.verify(token(hmac(), ACCESS, claims({ [claim]: value })));
  }
  for (const typ of [no, 'JWT', 'application/jwt']) {
    rejection(strict, token(hmac(), { typ }, claims({ type: 'access' })));
    plain.verify(token(hmac(), { typ }, claims({ type: 'access' })));
    plain.verify(token(hmac(), { typ }, claims()));
  }
  for (const good of [{ nbf: now }, { nbf: now + 0.9 }, { iat: no }, { iat: now + 3 }, { fresh: true }, { fresh: now + 10 }, { sub: 'x'.repeat(512) }, { token_type: 'Bearer' }]) {
    for (const verifier of verifiers) verifier.verify(token(hmac(), ACCESS, claims(good)));
    const name = JSON.stringify(good).slice(0, 100);
    assert.equal(await ask(token(signer, ACCESS, claims(good)), name), 'good', name);
  }
});

test('headers and claims with random changes are judged as at a node', async (t) => {
  const { signer, ask } = await besideNode(t);
  const pieces = [...'{}[]":,\\\\ \t\n\0x0123456789eE+-.utfnbr\u00e9\u2603'].map((piece) => Buffer.from(piece));
  pieces.push(...['null', 'true', '\\u', '\\ud83d', '"a":1,', '"exp":', '1e9', '[[', 'at+jwt', 'access', '"type":'].map((piece) => Buffer.from(piece)), Buffer.from([0xc3]), Buffer.from([0xff]));
  const any = (/** @type {number} */ below) => randomInt(below);
  const changed = (/** @type {object} */ object) => {
    let bytes = Buffer.from(JSON.stringify(object));
    for (let count = any(3) + 1; count > 0; count -= 1) {
      const at = any(bytes.length + 1);
      const piece = /** @type {Buffer} */ (pieces[any(pieces.length)]);
      bytes = Buffer.concat([bytes.subarray(0, at), any(4) ? piece : Buffer.alloc(0), bytes.subarray(at + any(3))]);
    }
    return bytes;
  };
  /** @type {Record<string, number>} */
  const verdicts = {};
  for (let round = 0; round < ROUNDS; round += 1) {
    const header = { alg: 'EdDSA', ...ACCESS, cty: 'a' };
    const payload = claims({ aud: undefined, fresh: true, type: 'access', more: { a: [1.5, 'b:"'], c: null } });
    const parts = any(4) ? [Buffer.from(JSON.stringify(header)), changed(payload)] : [changed(header), Buffer.from(JSON.stringify(payload))];
    const name = parts.map((part) => JSON.stringify(part.toString('latin1'))).join(' . ');
    const verdict = await ask(token(signer, /** @type {Buffer} */ (parts[0]), /** @type {Buffer} */ (parts[1])), name);
    verdicts[verdict] = (verdicts[verdict] ?? 0) + 1;
  }
  // Otherwise the changes are all too large, or too small.
  assert.ok((verdicts.good ?? 0) > ROUNDS / 50 && (verdicts.invalid_token ?? 0) > ROUNDS / 4, JSON.stringify(verdicts));
});

test('the subject can be in another claim, as at the node', async (t) => {
  const { signer, verifier, ask } = await besideNode(t, { claim: 'oid' });
  const { sub: _, ...others } = claims();
  const named = (/** @type {unknown} */ oid) => token(signer, ACCESS, { ...others, oid });
  const [ana, ben] = [named('ana'), named('ben')];
  for (const good of [ana, ben, token(signer, ACCESS, { ...others, oid: 'cid', sub: 'ana' })]) assert.equal(await ask(good, good), 'good');
  for (const oid of [undefined, '', 7, null, ['ana'], 'a'.repeat(1000)]) assert.equal(await ask(named(oid), `${oid}`), 'invalid_token');
  assert.equal(await ask(token(signer, ACCESS, claims()), 'only sub'), 'invalid_token');
  const more = (/** @type {string} */ members) => token(signer, ACCESS, `${JSON.stringify({ ...others, oid: 'ana' }).slice(0, -1)},${members}}`);
  for (const same of ['"a":{"b":1,"c":{"b":1}},"d":[{"b":1},{"b":1}]', String.raw`"a":{"b":":\"b\":","":{}}`]) assert.equal(await ask(more(same), same), 'good');
  for (const twice of ['"oid":"ana"', '"a":{"b":1,"b":2}', String.raw`"a":[{"c":{"b":1,"\u0062":2}}]`]) {
    assert.equal(await ask(more(twice), twice), 'invalid_token');
  }
  await verifier.blocklist.revokeSubject('ana', { iss: 'shop' });
  assert.equal(await ask(ana, 'revoked'), 'token_revoked');
  assert.equal(await ask(ben, 'not revoked'), 'good');
  assert.equal(await ask(token(signer, ACCESS, { ...others, oid: 'cid', sub: 'ana' }), 'sub of a revoked one'), 'good');
});

test('a subject in another claim is a text in every profile, and `sub` may be missing then', async (t) => {
  const blocklist = await Blocklist.inMemory({ issuer: 'shop', subjectClaim: 'oid' });
  t.after(() => blocklist.close());
  const { sub: _, ...others } = claims();
  for (const profile of /** @type {const} */ (['rfc9068', 'plain'])) {
    const verifier = new Verifier({ blocklist, issuer: 'shop', key: SECRET, algorithm: 'HS256', profile });
    const found = verifier.verify(token(hmac(), ACCESS, { ...others, oid: 'ana' }));
    // @ts-expect-error The type says that it may be missing.
    const name = () => found.sub.toString();
    assert.throws(name, TypeError);
    for (const oid of [7, 0, -1, 7.5, true, null, ['ana']]) {
      assert.throws(() => verifier.verify(token(hmac(), ACCESS, { ...others, oid })), InvalidClaimsError, `${profile} ${oid}`);
    }
  }
});
