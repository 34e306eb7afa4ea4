import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import { Blocklist } from '../src/index.js';
import { KeyFollower } from '../src/key-follower.js';
import { Node, claimsOf, eventually, follow, startToFollow, verdict } from './support/node.js';
import { serve } from './support/server.js';

const GOOD = { url: 'http://127.0.0.1:1', clientId: 'service', secret: 'c2VjcmV0' };

test('invalid settings are an error at once', () => {
  for (const [name, values] of Object.entries({
    url: ['', 'node', 'http://', 7, 'ftp://node', 'http://service:secret@node', 'http://node?x=1', 'http://node#x'],
    clientId: ['', 'a:b', 7],
    secret: ['', undefined, '\n', '\ufeff\r\n'],
    subjectClaim: ['', 7, null],
    lifetime: [0, -1, NaN, '1d'],
    maxStaleness: [0, 49, 1.5, NaN, '2s', 86_400_001],
    stalePolicy: ['perhaps'],
    staleTimeout: [-1, 0.5, NaN, '1s', 60_001],
    issuer: ['', 7],
  })) {
    for (const value of values) {
      const make = () => new Blocklist(/** @type {any} */ ({ ...GOOD, [name]: value }));
      assert.throws(make, { name: 'TypeError', code: 'ADIEU_USAGE' }, `${name}: ${value}`);
    }
  }
});

test('each request states the version of the package', async (t) => {
  /** @type {(string | undefined)[]} */
  const agents = [];
  const url = await serve(t, (request, response) => {
    agents.push(request.headers['user-agent']);
    response.writeHead(503).end();
  });
  const blocklist = new Blocklist({ ...GOOD, url, onEvent: () => {} });
  t.after(() => blocklist.close());
  await eventually(async () => agents.length > 0, 'a request');
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  assert.equal(agents[0], `adieu-node/${version}`);
});

test('a value that is not claims, an id or a token is a TypeError that says so', async () => {
  const blocklist = new Blocklist({ ...GOOD, unref: true, onEvent: () => {} });
  const wrong = /** @type {any[]} */ ([undefined, null, 'x', 7, true]);
  const name = 'InvalidClaimsError';
  for (const claims of wrong) {
    const says = { name, message: /the claims of a token are needed/ };
    assert.throws(() => blocklist.isRevoked(claims), says);
    assert.throws(() => blocklist.assertNotRevoked(claims), says);
    await assert.rejects(blocklist.revoke(claims), says);
    await assert.rejects(blocklist.revokeOnce(claims), says);
  }
  const now = Math.floor(Date.now() / 1000);
  for (const token of wrong.slice(1)) {
    assert.throws(() => blocklist.isRevoked({ exp: now + 60 }, token), { name: 'TypeError', message: /must be a signed JWT/ });
    await assert.rejects(blocklist.revoke({ exp: now + 60 }, { token }), { name: 'TypeError', message: /must be a signed JWT/ });
  }
  await assert.rejects(blocklist.revokeSession(/** @type {any} */ (undefined)), { name: 'TypeError', message: /session is missing/ });
  for (const other of [null, 7, '', {}]) {
    await assert.rejects(blocklist.revokeSession(/** @type {any} */ (other)), { name, message: /sid/ });
  }
  await assert.rejects(blocklist.revokeSubject(/** @type {any} */ (undefined)), { name: 'TypeError', message: /subject is missing/ });
  for (const other of [null, 1.5, '', {}]) {
    await assert.rejects(blocklist.revokeSubject(/** @type {any} */ (other)), { name, message: /sub/ });
  }
  blocklist.close();
});

test('a secret may have a byte order mark and a line ending', async (t) => {
  const node = await Node.start(t);
  const secret = node.addClient('file');
  for (const written of [`${secret}\n`, `${secret}\r\n`, `\ufeff${secret}`, `\ufeff${secret}\n\n`]) {
    await follow(t, node, { clientId: 'file', secret: written });
  }
});

test('a setting that is not given comes from the environment', async (t) => {
  const node = await Node.start(t);
  const folder = mkdtempSync(join(tmpdir(), 'adieu-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'secret');
  writeFileSync(file, `${node.addClient('named')}\n`);
  /** @param {Record<string, string>} variables @param {import('../src/index.js').Options} [options] */
  const create = (variables, options) => {
    Object.assign(process.env, variables);
    try {
      const blocklist = new Blocklist({ onEvent() {}, ...options });
      t.after(() => blocklist.close());
      return blocklist;
    } finally {
      for (const name of Object.keys(variables)) delete process.env[name];
    }
  };
  const good = { ADIEU_URL: node.url, ADIEU_CLIENT: 'named', ADIEU_SECRET: readFileSync(file, 'utf8') };
  await create(good).ready();
  // The file comes first, and an argument before both.
  await create({ ...good, ADIEU_SECRET: 'd3Jvbmc', ADIEU_SECRET_FILE: file }).ready();
  await create({ ...good, ADIEU_URL: 'http://127.0.0.1:1', ADIEU_SECRET_FILE: '/none' }, { url: node.url, secret: good.ADIEU_SECRET }).ready();
  for (const name of Object.keys(good)) {
    const { [name]: _, ...others } = /** @type {Record<string, string>} */ (good);
    assert.throws(() => create(others), { code: 'ADIEU_USAGE', message: new RegExp(`${name} set`) });
    assert.throws(() => create({ ...good, [name]: '' }), TypeError);
  }
  for (const wrong of ['', '/none']) assert.throws(() => create({ ...good, ADIEU_SECRET_FILE: wrong }), { code: 'ENOENT' });
});

test('a wrong secret, a missing capability and a bound larger than that of the node are reported at once', async (t) => {
  const node = await Node.start(t, { max_staleness: '1s' });
  const jose = await node.logIn('jose');
  for (const [options, told] of /** @type {const} */ ([
    [{ secret: 'd3Jvbmc' }, /does not know this client and secret/],
    [{ can: 'revoke' }, /does not let this client do that/],
    [{ maxStaleness: 1001 }, /422.*max_staleness.*1/],
  ])) {
    const { blocklist, events } = await startToFollow(t, node, { maxStaleness: 1000, ...options });
    await assert.rejects(blocklist.ready(), told);
    assert.equal(events.find(({ type }) => type === 'failing')?.level, 'error');
    assert.equal(verdict(blocklist, jose.access), 'stale');
    blocklist.close();
  }
});

test('a client that may only follow can not revoke', async (t) => {
  const node = await Node.start(t);
  const { blocklist } = await follow(t, node, { can: 'follow' });
  const jose = await node.logIn('jose');
  await assert.rejects(blocklist.revoke(claimsOf(jose.access)), { name: 'NodeError', nodeStatus: 403, status: 503 });
  assert.equal(verdict(blocklist, jose.access), 'accepted');
});

test('a client that was removed rejects everything', async (t) => {
  const node = await Node.start(t);
  const clientId = 'removed';
  const { blocklist, events } = await follow(t, node, { clientId, secret: node.addClient(clientId), maxStaleness: 500 });
  const jose = await node.logIn('jose');
  await eventually(() => verdict(blocklist, jose.access) === 'accepted', 'it follows');
  node.command('client', 'remove', clientId);
  await eventually(() => events.some(({ type, level }) => type === 'failing' && level === 'error'), 'it is told');
  await eventually(() => verdict(blocklist, jose.access) === 'stale', 'it is cut off');
});

test('no secret is ever printed', async (t) => {
  const node = await Node.start(t);
  const { blocklist, proxy, events, secret } = await follow(t, node, { maxStaleness: 100 });
  const basic = Buffer.from(`client:${secret}`).toString('base64').slice(-20);
  proxy.mode = 'cut';
  const error = await blocklist.revoke({ jti: 'x' }, { timeout: 100 }).catch((/** @type {unknown} */ error) => error);
  await eventually(() => events.some(({ type }) => type === 'failing'), 'it fails');
  const options = { depth: Infinity, showHidden: true, getters: true };
  for (const printed of [
    inspect(blocklist, options),
    inspect(events, options),
    inspect(error, options),
    JSON.stringify([blocklist, error, events, blocklist.status()]),
    String(error),
  ]) {
    assert.ok(!printed.includes(secret) && !printed.includes(basic), printed);
  }
});

// Deno opens another connection.
test('a closed blocklist sends no requests, and soon rejects', { skip: 'Deno' in globalThis }, async (t) => {
  const node = await Node.start(t);
  const { blocklist, proxy } = await follow(t, node, { maxStaleness: 200 });
  const jose = await node.logIn('jose');
  blocklist.close();
  blocklist.close();
  await assert.rejects(blocklist.revoke({ jti: 'x' }), /closed/);
  const { connections } = proxy;
  await eventually(() => verdict(blocklist, jose.access) === 'stale', 'it refuses');
  assert.equal(proxy.connections, connections);
  const other = new Blocklist({ ...GOOD, onEvent: () => {} });
  const ready = other.ready();
  other.close();
  await assert.rejects(ready, /closed/);
});

test('a wait for readiness that took too long leaves nothing in memory', { skip: 'Deno' in globalThis || 'Bun' in globalThis }, async (t) => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc');
  const blocklist = new Blocklist({ ...GOOD, onEvent: () => {} });
  const keys = new KeyFollower('http://127.0.0.1:1', 'RS256', () => {}, () => {});
  t.after(() => [blocklist, keys].forEach((one) => one.close()));
  const waits = [() => blocklist.ready({ timeout: 0 }), () => keys.ready(0)];
  for (const wait of waits) {
    const waitOften = async (/** @type {number} */ times) => {
      for (let time = 0; time < times; time += 1000) {
        await Promise.all(Array.from({ length: 1000 }, () => assert.rejects(wait(), { code: 'ADIEU_TIMEOUT' })));
      }
      collect();
      return process.memoryUsage().heapUsed;
    };
    const before = await waitOften(2000);
    const grown = (await waitOften(20_000)) - before;
    assert.ok(grown < 20_000 * 250, `${grown} bytes`);
  }
});

test('an error of the event callback stops neither the follower nor the process', async (t) => {
  const { mock } = t.mock.method(console, 'error', () => {});
  const node = await Node.start(t);
  const thrown = () => {
    throw new Error('of the listener');
  };
  for (const [number, onEvent] of [thrown, async () => thrown()].entries()) {
    const { blocklist } = await follow(t, node, { onEvent });
    assert.equal(blocklist.status().fresh, true);
    await eventually(() => mock.callCount() > number, 'it is written');
    assert.match(String(mock.calls[number]?.arguments[1]), /of the listener/);
  }
});

test('thirty revocations at a time print no warning', async (t) => {
  const { blocklist } = await follow(t, await Node.start(t));
  /** @type {Error[]} */
  const warnings = [];
  const warned = (/** @type {Error} */ warning) => void warnings.push(warning);
  process.on('warning', warned);
  t.after(() => process.off('warning', warned));
  await Promise.all(Array.from({ length: 30 }, (_, number) => blocklist.revoke({ jti: `at-once-${number}` })));
  // Warnings are emitted in the next tick.
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(warnings, []);
});

test('a session of another issuer can be ended', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'adieu-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'key.pem');
  writeFileSync(file, generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' }));
  const node = await Node.start(t, { trusted_issuer: `[{name = "https://other.example", pem_file = "${file}"}]` });
  const { blocklist } = await follow(t, node);
  const exp = Math.floor(Date.now() / 1000) + 600;
  await blocklist.revokeSession('s1', { iss: 'https://other.example' });
  assert.equal(blocklist.isRevoked({ iss: 'https://other.example', jti: 'a', sid: 's1', exp }), true);
  assert.equal(blocklist.isRevoked({ jti: 'a', sid: 's1', exp }), false);
});

test('every failure has a code', async (t) => {
  const node = await Node.start(t);
  const { blocklist, proxy } = await follow(t, node);
  const exp = Math.floor(Date.now() / 1000) + 600;
  assert.throws(() => new Blocklist(/** @type {any} */ ({ url: node.url, clientId: 'a' })), { code: 'ADIEU_USAGE' });
  assert.throws(() => blocklist.isRevoked({ exp }), { code: 'ADIEU_USAGE' });
  assert.throws(() => blocklist.isRevoked({ jti: 'a' }), { code: 'ADIEU_CLAIMS' });
  await blocklist.revoke({ jti: 'a' });
  assert.throws(() => blocklist.assertNotRevoked({ jti: 'a', exp }), { code: 'ADIEU_REVOKED' });
  const stranger = new Blocklist({ url: node.url, clientId: 'stranger', secret: 'x', onEvent() {} });
  t.after(() => stranger.close());
  assert.throws(() => stranger.isRevoked({ jti: 'a', exp }), { code: 'ADIEU_STALE' });
  await assert.rejects(stranger.ready(), { code: 'ADIEU_REJECTED', nodeStatus: 401 });
  proxy.mode = 'cut';
  await assert.rejects(blocklist.revoke({ jti: 'b' }, { timeout: 2000 }), { code: 'ADIEU_UNREACHABLE' });
  proxy.mode = 'freeze';
  await assert.rejects(blocklist.revoke({ jti: 'b' }, { timeout: 1000 }), { code: 'ADIEU_TIMEOUT' });
  blocklist.close();
  await assert.rejects(blocklist.revoke({ jti: 'b' }), { code: 'ADIEU_CLOSED' });
});
