/** The keys of an issuer are followed, within limits, and only what is a public key for signatures is used. */

import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';

import { TokenError, Verifier } from '../src/index.js';
import { KeyFollower } from '../src/key-follower.js';
import { KeySet } from '../src/keys.js';
import { Node, eventually, follow } from './support/node.js';
import { serve } from './support/server.js';
import { ACCESS, SECRET, claims, encoded, hmac, keyPair, token } from './support/tokens.js';

/** @typedef {import('node:test').TestContext} TestContext */
/** @typedef {(response: import('node:http').ServerResponse, request: import('node:http').IncomingMessage) => void} Answer */

/**
 * Starts an issuer that answers as given. `requests` are the times at which it was asked.
 * @param {TestContext} t
 * @param {Answer} answer
 */
async function startIssuer(t, answer) {
  /** @type {number[]} */
  const requests = [];
  const issuer = { url: '', requests, answer };
  const url = await serve(t, (request, response) => {
    requests.push(performance.now());
    assert.equal(request.headers.authorization, undefined);
    issuer.answer(response, request);
  });
  issuer.url = `${url}/keys`;
  return issuer;
}

/** Creates verifiers on one blocklist. @param {TestContext} t */
async function makeVerifiers(t) {
  // A long bound: making RSA keys takes long, and the follower cannot read meanwhile.
  const { blocklist } = await follow(t, await Node.start(t, { max_staleness: '60s' }), { maxStaleness: 60_000 });
  return (/** @type {string} */ keysUrl, /** @type {Partial<import('../src/index.js').SharedVerifierOptions>} */ options = {}) => {
    /** @type {import('../src/index.js').Event[]} */
    const events = [];
    const verifier = new Verifier({ blocklist, issuer: 'shop', keysUrl, onEvent: (event) => void events.push(event), ...options });
    t.after(() => verifier.close());
    return { verifier, events };
  };
}

/** @param {ReturnType<typeof keyPair>} pair @param {object} [more] */
const jwk = (pair, more) => ({ ...pair.public.export({ format: 'jwk' }), ...more });

/** @param {...unknown} keys @returns {Answer} */
const publish = (...keys) => (response) => response.end(JSON.stringify({ keys }));

/** @param {Verifier} verifier @param {string} input */
function isGood(verifier, input) {
  try {
    verifier.verify(input);
    return true;
  } catch (error) {
    assert.ok(error instanceof TokenError, String(error));
    return false;
  }
}

test('keys that are not public keys for signatures are left out, and the others are used', async (t) => {
  const make = await makeVerifiers(t);
  const [ed, ec, rsa, ps] = ['EdDSA', 'ES256', 'RS256', 'PS256'].map(keyPair);
  assert.ok(ed && ec && rsa && ps);
  const small = generateKeyPairSync('rsa', { modulusLength: 1024 });
  const secret = { kty: 'oct', k: encoded(SECRET) };
  const { privateKey } = generateKeyPairSync('ed25519');
  const published = [
    null, 7, 'key', [], {}, { kty: 'EC' }, { kty: 'RSA', n: 'AQAB', e: 'AQAB', alg: 'RS256', kid: 'tiny' },
    { ...secret, kid: 'secret', alg: 'HS256' }, { ...secret, kid: 'secret', alg: 'EdDSA' }, { ...jwk(ed), kid: 'private', d: privateKey.export({ format: 'jwk' }).d },
    jwk(ed, { kid: 'encryption', use: 'enc' }), jwk(ed, { kid: 'operation', key_ops: ['sign'] }), jwk(ed, { kid: 'algorithm', alg: 'ES256' }),
    jwk(ec, { kid: 'curve', alg: 'ES384' }), jwk(ed, { kid: 7 }), jwk(ed, { kid: '' }), { ...small.publicKey.export({ format: 'jwk' }), kid: 'small', alg: 'RS256' },
    { ...jwk(rsa), e: 'AQ', kid: 'exponent', alg: 'RS256' }, jwk(rsa, { kid: 'any' }), jwk(ps, { kid: 'any of PS256' }),
    jwk(ed, { kid: 'ed', alg: 'Ed25519' }), jwk(ec, { kid: 'ed' }), jwk(ec, { kid: 'ec', use: 'sig', key_ops: ['verify'] }),
    jwk(rsa, { kid: 'rsa', alg: 'RS256', x5c: ['a'] }), jwk(ps, { kid: 'ps', alg: 'PS256' }),
  ];
  const issuer = await startIssuer(t, publish(...published));
  const { keys } = KeySet.parse(Buffer.from(JSON.stringify({ keys: published })));
  assert.deepEqual(keys.map(({ id, algorithm }) => `${id} ${algorithm}`), ['ed EdDSA', 'ec ES256', 'rsa RS256', 'ps PS256']);
  const { verifier } = make(issuer.url);
  await verifier.ready();
  const pairs = { ed, ec, rsa, ps };
  for (const [kid, pair] of Object.entries(pairs)) {
    verifier.verify(token(pair, { ...ACCESS, kid }, claims()));
    verifier.verify(token(pair, ACCESS, claims()));
    for (const other of Object.keys(pairs)) {
      if (other !== kid) assert.ok(!isGood(verifier, token(pair, { ...ACCESS, kid: other }, claims())), `${kid} as ${other}`);
    }
  }
  for (const kid of ['private', 'encryption', 'operation', 'algorithm', '', '7', 'none', '__proto__']) {
    assert.ok(!isGood(verifier, token(ed, { ...ACCESS, kid }, claims())), kid);
  }
  assert.ok(!isGood(verifier, token(ec, { ...ACCESS, kid: 'curve' }, claims())));
  for (const kid of ['secret', 'ed', undefined]) assert.ok(!isGood(verifier, token(hmac(), { ...ACCESS, kid }, claims())));

  // RSA keys that do not say what they are for are for RS256, unless a setting says otherwise, which is for no other keys.
  const { verifier: set } = make(issuer.url, { algorithm: 'PS256' });
  await set.ready();
  for (const [each, algorithm] of /** @type {const} */ ([[verifier, 'RS256'], [set, 'PS256']])) {
    for (const [kid, pair] of Object.entries({ any: rsa, 'any of PS256': ps })) {
      assert.equal(isGood(each, token(pair, { ...ACCESS, kid }, claims())), pair.algorithm === algorithm, `${algorithm}: ${kid}`);
    }
    for (const [kid, pair] of Object.entries({ rsa, ps })) each.verify(token(pair, { ...ACCESS, kid }, claims()));
  }
});

test('a key without an id is known by its thumbprint', async (t) => {
  const make = await makeVerifiers(t);
  // RFC 8037 appendix A
  const published = { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' };
  const pair = keyPair('EdDSA');
  const issuer = await startIssuer(t, publish(published, jwk(pair)));
  const { verifier } = make(issuer.url);
  await verifier.ready();
  const wrong = (/** @type {string} */ kid) => () => verifier.verify(token(pair, { ...ACCESS, kid }, claims()));
  assert.throws(wrong('kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k'), /signature/);
  assert.throws(wrong('another'), /unknown key/);
  verifier.verify(token(pair, ACCESS, claims()));
});

test('a member of a key that is null counts as missing', () => {
  const parse = (/** @type {object[]} */ ...keys) => KeySet.parse(Buffer.from(JSON.stringify({ keys }))).keys;
  const [ed, rsa] = [jwk(keyPair('EdDSA')), jwk(keyPair('RS256'), { alg: 'RS256' })];
  for (const name of ['use', 'kid', 'key_ops', 'alg', 'x5c', 'x5t']) {
    assert.deepEqual(parse({ ...ed, kid: 'a', [name]: null }).map(({ id }) => id), name === 'kid' ? parse(ed).map(({ id }) => id) : ['a'], name);
  }
  const all = { use: null, kid: null, key_ops: null };
  assert.equal(parse({ ...rsa, ...all })[0]?.id, parse(rsa)[0]?.id);
  // An RSA key needs an algorithm, and a private part is one whatever it is.
  assert.deepEqual(parse({ ...rsa, alg: null }, { ...ed, d: null }, { ...ed, x: null }, { ...ed, crv: null }), []);
  for (const wrong of [{ use: '' }, { use: 'enc' }, { key_ops: [] }, { key_ops: [null] }, { key_ops: 'verify' }, { kid: '' }, { kid: 0 }]) {
    assert.deepEqual(parse({ ...ed, ...wrong }), [], JSON.stringify(wrong));
  }
});

test('unknown keys cause one request after some seconds, however many there are, and what was verified with a removed key ends', async (t) => {
  const make = await makeVerifiers(t);
  const [old, next] = [keyPair('EdDSA'), keyPair('EdDSA')];
  const issuer = await startIssuer(t, publish(jwk(old, { kid: 'old' })));
  const { verifier } = make(issuer.url, { cache: {} });
  await verifier.ready();
  const before = token(old, { ...ACCESS, kid: 'old' }, claims());
  const after = token(next, { ...ACCESS, kid: 'next' }, claims());
  verifier.verify(before);
  issuer.answer = publish(jwk(next, { kid: 'next' }));
  await eventually(() => {
    for (let count = 0; count < 1000; count += 1) assert.ok(!isGood(verifier, token(old, { ...ACCESS, kid: `made-up-${count}` }, claims())));
    return isGood(verifier, after);
  }, 'the new key is known');
  assert.equal(issuer.requests.length, 2);
  const [first = 0, second = 0] = issuer.requests;
  assert.ok(second - first > 4900, `${second - first}`);
  assert.throws(() => verifier.verify(before), /unknown key/);
});

test('a token without a kid that no known key has signed causes a request too', async (t) => {
  const make = await makeVerifiers(t);
  for (const algorithm of ['EdDSA', 'ES256']) {
    const [old, next] = [keyPair('EdDSA'), keyPair(algorithm)];
    const issuer = await startIssuer(t, publish(jwk(old)));
    const { verifier } = make(issuer.url);
    await verifier.ready();
    verifier.verify(token(old, ACCESS, claims()));
    issuer.answer = publish(jwk(next));
    const after = token(next, ACCESS, claims());
    await eventually(() => isGood(verifier, after), `the new key of ${algorithm} is known`);
    assert.equal(issuer.requests.length, 2);
  }
});

test('a key that stays is the same object, and an answer that has not changed is not sent again', async (t) => {
  const [stays, comes] = [keyPair('ES256'), keyPair('ES256')];
  const [a, b] = [jwk(stays, { kid: 'a' }), jwk(comes, { kid: 'b' })];
  const issuer = await startIssuer(t, (response) => response.setHeader('etag', '"1"').end(JSON.stringify({ keys: [a] })));
  let changes = 0;
  const follower = new KeyFollower(issuer.url, 'RS256', () => assert.fail(), () => (changes += 1));
  t.after(() => follower.close());
  await follower.ready(60_000);
  const [before] = follower.current?.keys ?? [];
  issuer.answer = (response, { headers }) => response.writeHead(headers['if-none-match'] === '"1"' ? 304 : 500).end();
  follower.missed();
  await eventually(() => issuer.requests.length === 2, 'it asks again');
  issuer.answer = publish(b, a);
  await eventually(() => {
    follower.missed();
    return changes === 2;
  }, 'the other key is known');
  assert.equal(follower.current?.keys.length, 2);
  assert.equal(follower.current?.keys[1], before);
});

test('the keys of a closed verifier are not known, however recent the revocations of others are, and a fixed key stays', async (t) => {
  const make = await makeVerifiers(t);
  const pair = keyPair('EdDSA');
  const issuer = await startIssuer(t, publish(jwk(pair)));
  const input = token(pair, ACCESS, claims());
  for (const cache of [undefined, {}]) {
    const { verifier } = make(issuer.url, { cache });
    await verifier.ready();
    verifier.verify(input);
    verifier.close();
    assert.equal(verifier.blocklist.status().fresh, true);
    assert.equal(verifier.isReady, false);
    for (const each of [input, token(pair, ACCESS, claims())]) assert.throws(() => verifier.verify(each), { code: 'ADIEU_STALE' });
    await assert.rejects(verifier.ready(), { code: 'ADIEU_CLOSED' });
    const fixed = new Verifier({ blocklist: verifier.blocklist, issuer: 'shop', key: pair.public, algorithm: 'EdDSA', cache });
    fixed.close();
    fixed.verify(input);
  }
});

test('closing ends the wait for keys', async (t) => {
  const issuer = await startIssuer(t, () => {});
  const follower = new KeyFollower(issuer.url, 'RS256', () => assert.fail(), () => {});
  const ready = follower.ready(60_000);
  await eventually(() => issuer.requests.length > 0, 'it is asked');
  follower.close();
  await assert.rejects(ready, { code: 'ADIEU_CLOSED' });
});

test('an issuer that answers wrongly is asked again, and the known keys stay in use', async (t) => {
  const make = await makeVerifiers(t);
  const [ours, theirs] = [keyPair('EdDSA'), keyPair('EdDSA')];
  const other = await startIssuer(t, publish(jwk(theirs, { kid: 'theirs' })));
  const document = JSON.stringify({ keys: [jwk(theirs, { kid: 'theirs' })] });
  /** @type {Record<string, Answer>} */
  const answers = {
    'an error': (response) => response.writeHead(500).end(document),
    'another success': (response) => response.writeHead(203).end(document),
    'a redirect': (response) => response.writeHead(302, { location: other.url }).end(document),
    'not modified': (response) => response.writeHead(304).end(),
    'not JSON': (response) => response.end(`${document}x`),
    'nothing': (response) => response.end(),
    'null': (response) => response.end('null'),
    'no list': (response) => response.end('{"keys":{"a":1}}'),
    'compressed': (response) => response.setHeader('content-encoding', 'gzip').end(gzipSync(document)),
    'too large': (response) => response.end(document.padEnd(300_000)),
    'endless': (response) => {
      const more = () => void (!response.destroyed && response.write('[['.repeat(10_000), () => setImmediate(more)));
      more();
    },
    'cut off': (response) => void response.writeHead(200, { 'content-length': 1000 }).write(document, () => response.destroy()),
    'too many keys': publish(...Array.from({ length: 65 }, (_, at) => jwk(theirs, { kid: at === 0 ? 'theirs' : String(at) }))),
  };
  await Promise.all(Object.entries(answers).map(async ([name, answer]) => {
    const issuer = await startIssuer(t, answer);
    const { verifier, events } = make(issuer.url);
    await eventually(() => issuer.requests.length > 1, `${name}: it is asked again`);
    assert.deepEqual(events.map(({ type }) => type), ['keys_failing'], name);
    assert.equal(verifier.isReady, false, name);
    issuer.answer = publish(jwk(ours, { kid: 'ours' }));
    await verifier.ready();
    assert.deepEqual(events.map(({ type }) => type), ['keys_failing', 'keys_following'], name);
    issuer.answer = answer;
    assert.ok(!isGood(verifier, token(theirs, { ...ACCESS, kid: 'theirs' }, claims())));
    await eventually(() => events.length === 3, `${name}: it fails again`);
    verifier.verify(token(ours, { ...ACCESS, kid: 'ours' }, claims()));
    assert.ok(!isGood(verifier, token(theirs, { ...ACCESS, kid: 'theirs' }, claims())), name);
  }));
  assert.equal(other.requests.length, 0);
});
