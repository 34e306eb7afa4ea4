/**
 * Tests the examples of forward authentication, with real proxies in front of a real node: `node --test examples/*.test.mjs`.
 *
 * A recorder between the proxy and the example's application stores the requests that reach the application.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Node, claimsOf, eventually } from '../clients/node/test/support/node.js';

/** @typedef {import('node:test').TestContext} TestContext */
/** @typedef {{ status: number, headers: http.IncomingHttpHeaders, body: string }} Answer */
/** @typedef {{ method?: string, token?: string, headers?: Record<string, string | string[]>, body?: string }} Request */

/**
 * The folder of an example, its file, how it is run in a folder, and its answer when Adieu is not there: status and `Retry-After`.
 * @typedef {{ example: string, file: string, command: (folder: string) => string[], gone: [number, string | undefined] }} Example
 * @type {Record<'nginx' | 'caddy', Example>}
 */
const EXAMPLES = {
  nginx: {
    example: 'nginx',
    file: 'nginx.conf',
    // Otherwise root would run the workers as a user without access to this folder.
    command: (folder) => ['nginx', '-p', folder, '-c', 'nginx.conf', ...(process.getuid?.() === 0 ? ['-g', 'user root;'] : [])],
    gone: [503, '1'],
  },
  caddy: {
    example: 'caddy',
    file: 'Caddyfile',
    command: (folder) => ['caddy', 'run', '--config', join(folder, 'Caddyfile')],
    gone: [502, undefined],
  },
};

/**
 * Each example as it is, and with Adieu on a Unix socket, whose path follows the prefix.
 * @type {Record<string, Example & { socket?: string }>}
 */
const PROXIES = {
  ...EXAMPLES,
  'nginx, Unix socket': { ...EXAMPLES.nginx, socket: 'unix:' },
  'caddy, Unix socket': { ...EXAMPLES.caddy, socket: 'unix/' },
};

/** @param {number} port @param {string} path @param {Request} [request] @returns {Promise<Answer>} */
async function send(port, path, { method = 'GET', token, headers = {}, body } = {}) {
  const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const request = http.request({ host: '127.0.0.1', port, path, method, headers: { ...authorization, ...headers }, agent: false });
  request.end(body);
  const [response] = /** @type {[http.IncomingMessage]} */ (await once(request, 'response'));
  let text = '';
  for await (const bytes of response) text += bytes;
  return { status: response.statusCode ?? 0, headers: response.headers, body: text };
}

/** Ports that nobody has just now. @param {number} count */
async function freePorts(count) {
  const servers = Array.from({ length: count }, () => net.createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => /** @type {net.AddressInfo} */ (server.address()).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/**
 * Starts a node, a proxy with its example in front of it, and the recorder.
 * @param {TestContext} t
 * @param {Example & { socket?: string }} proxy
 * @param {Record<string, string>} [settings]
 */
async function start(t, { example: name, file, command, socket }, settings = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'adieu-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'verify.sock');
  const node = await Node.start(t, { ...settings, ...(socket && { listen: `127.0.0.1:0,unix:${path}` }) });
  cpSync(fileURLToPath(new URL(name, import.meta.url)), folder, { recursive: true });
  mkdirSync(join(folder, 'temp'), { recursive: true });
  const example = readFileSync(join(folder, file), 'utf8');

  /** @type {{ method: string | undefined, url: string | undefined, headers: string[], body: string }[]} */
  const seen = [];
  let applicationPort = 0;
  const recorder = http.createServer(async (request, response) => {
    let body = '';
    for await (const bytes of request) body += bytes;
    const { method = '', url = '', rawHeaders, headers } = request;
    seen.push({ method, url, headers: rawHeaders, body });
    delete headers.connection;
    const answer = await send(applicationPort, url, { method, headers: /** @type {any} */ (headers), body }).catch(() => undefined);
    if (answer === undefined) response.writeHead(502).end();
    else response.writeHead(answer.status, { 'content-type': answer.headers['content-type'] ?? '' }).end(answer.body);
  });
  recorder.listen(0, '127.0.0.1');
  await once(recorder, 'listening');
  t.after(() => recorder.close());
  const recorderPort = /** @type {net.AddressInfo} */ (recorder.address()).port;

  for (let attempt = 1; ; attempt += 1) {
    const [front = 0, application = 0] = await freePorts(2);
    applicationPort = application;
    const text = example
      .replaceAll('127.0.0.1:8080', socket ? `${socket}${path}` : `127.0.0.1:${node.port}`)
      .replaceAll('127.0.0.1:8000', `127.0.0.1:${front}`)
      .replaceAll(/(listen|http:\/\/)(\s*)127\.0\.0\.1:8001/g, `$1$2127.0.0.1:${application}`)
      .replaceAll('127.0.0.1:8001', `127.0.0.1:${recorderPort}`);
    assert.doesNotMatch(text, /:80[08][01]/);
    writeFileSync(join(folder, file), text);

    const [program = '', ...words] = command(folder);
    const child = spawn(program, words, { stdio: ['ignore', 'ignore', 'pipe'], env: { PATH: process.env.PATH, HOME: folder } });
    // Stops it with a signal that it handles: a master of nginx that is killed leaves its workers behind.
    t.after(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exit = once(child, 'exit');
      child.kill('SIGTERM');
      await exit;
    });
    let said = '';
    child.stderr.on('data', (bytes) => (said += bytes));
    await eventually(async () => child.exitCode !== null || (await send(front, '/health')).status === 200, `${program} runs`);
    if (child.exitCode === null) {
      seen.length = 0;
      return { node, seen, get: (/** @type {string} */ path, /** @type {Request} */ request = {}) => send(front, path, request) };
    }
    // Another process took a port in the meantime.
    assert.ok(attempt < 5 && /in use/i.test(said), said);
  }
}

/** What matters of a refusal. @param {Answer} answer */
const refusal = ({ status, headers, body }) => ({
  status,
  body,
  type: headers['content-type'],
  cache: headers['cache-control'],
  challenge: headers['www-authenticate'],
  retryAfter: headers['retry-after'],
});

/** The headers of these names, as they were sent. @param {string[]} raw @param {RegExp} name */
const sent = (raw, name) => raw.filter((_, at) => at % 2 === 1 && name.test(raw[at - 1] ?? ''));

for (const [name, proxy] of Object.entries(PROXIES)) {
  test(`${name}: a token passes with its identity, the user logs out, and the next request is refused as by Adieu`, async (t) => {
    const { node, get, seen } = await start(t, proxy);
    const jose = await node.logIn('jose');
    const { sub, sid } = claimsOf(jose.access);

    const passed = await get('/items?page=2', { token: jose.access });
    assert.deepEqual([passed.status, JSON.parse(passed.body)], [200, { subject: sub, session: sid }]);
    assert.equal(seen[0]?.url, '/items?page=2');

    await node.logOut(jose.access);
    const refused = await get('/items?page=2', { token: jose.access });
    assert.deepEqual(
      [refused.status, refused.body, refused.headers['content-type']],
      [401, '{"description":"The token has been revoked.","error":"token_revoked"}', 'application/json'],
    );
    assert.equal(seen.length, 1, 'the application never sees it');
  });

  test(`${name}: every refusal is that of Adieu, word for word, and reaches no application`, async (t) => {
    const { node, get, seen } = await start(t, proxy, { access_lifetime: '1s', rotation_grace: '0s' });
    const [jose, ana] = [await node.logIn('jose'), await node.logIn('ana')];
    await node.logOut(jose.access);
    await eventually(async () => (await send(node.port, '/verify', { token: ana.access })).body.includes('expired'), 'it expires');

    for (const [why, request] of Object.entries({
      missing: {},
      'another scheme': { headers: { authorization: 'Basic am9zZTox' } },
      malformed: { token: 'x' },
      forged: { token: `${ana.access.slice(0, -8)}AAAAAAAA` },
      expired: { token: ana.access },
      'a refresh token': { token: ana.refresh },
      'with a method of its own': { token: 'x', method: 'DELETE' },
      'with a body': { token: 'x', method: 'POST', body: 'x'.repeat(100_000) },
    })) {
      const direct = refusal(await send(node.port, '/verify', { ...request, method: 'GET', body: '' }));
      assert.deepEqual(refusal(await get('/items', request)), direct, why);
    }
    assert.equal(seen.length, 0);
  });

  test(`${name}: with two Authorization headers it is not guessed which is meant`, async (t) => {
    const { node, get, seen } = await start(t, proxy);
    const jose = await node.logIn('jose');
    const two = { headers: { authorization: [`Bearer ${jose.access}`, 'Bearer x'] } };
    assert.equal((await send(node.port, '/verify', two)).status, 400);
    assert.equal((await get('/items', two)).status, 400);
    assert.equal(seen.length, 0);
  });

  test(`${name}: a route may want more than a good token, and the client has no say in it`, async (t) => {
    const { node, get, seen } = await start(t, proxy);
    const [jose, ana] = [await node.logIn('jose'), await node.logInAsAdmin('ana')];
    const again = await node.refresh(jose.refresh);
    for (const [path, token, wanted, status] of /** @type {const} */ ([
      ['/admin', jose.access, 'admin=true', 403],
      ['/admin/', jose.access, 'admin=true', 403],
      ['/admin/users?admin=false&x=/verify', jose.access, 'admin=true', 403],
      ['/reports', jose.access, 'claim=department:sales', 403],
      ['/password', again.access, 'fresh=true', 401],
      ['/password?fresh=false', again.access, 'fresh=true', 401],
    ])) {
      const direct = await send(node.port, `/verify?${wanted}`, { token });
      assert.equal(direct.status, status);
      assert.deepEqual(refusal(await get(path, { token })), refusal(direct), path);
    }
    assert.equal(seen.length, 0);
    assert.equal((await get('/admin/users', { token: ana.access })).status, 200);
    assert.deepEqual(sent(seen.pop()?.headers ?? [], /^x-adieu-admin$/i), ['true']);
    assert.equal((await get('/password', { token: jose.access })).status, 200);
    assert.deepEqual(sent(seen.pop()?.headers ?? [], /^x-adieu-admin$/i), ['false']);
  });

  test(`${name}: what a client says about itself reaches nobody`, async (t) => {
    const { node, get, seen } = await start(t, proxy);
    const jose = await node.logIn('jose');
    const { sub, sid } = claimsOf(jose.access);
    const names = ['X-Adieu-Subject', 'x-adieu-subject', 'X-ADIEU-SESSION', 'X-Adieu-Issuer', 'X-Adieu-Admin'];
    for (const forgedName of names) {
      const headers = { [forgedName]: ['root', 'admin'] };
      assert.equal((await get('/items', { headers })).status, 401);
      assert.equal(seen.length, 0, 'without a token nothing gets through');

      assert.equal((await get('/items', { token: jose.access, headers })).status, 200);
      const protectedOne = seen.pop()?.headers ?? [];
      assert.deepEqual(sent(protectedOne, /^x-adieu-subject$/i), [sub]);
      assert.deepEqual(sent(protectedOne, /^x-adieu-session$/i), [sid]);
      assert.deepEqual(sent(protectedOne, /^x-adieu-issuer$/i), ['adieu']);
      assert.deepEqual(sent(protectedOne, /^x-adieu-admin$/i), ['false']);

      assert.equal((await get('/health', { headers })).status, 200);
      assert.deepEqual(sent(seen.pop()?.headers ?? [], /^x-adieu/i), []);
    }
    // Some applications take this for the same name.
    for (const alike of ['X_Adieu_Subject', 'x_adieu-subject', 'X-Adieu_Subject', 'X_ADIEU_SUBJECT']) {
      await get('/items', { token: jose.access, headers: { [alike]: 'root' } });
      assert.deepEqual(sent(seen.pop()?.headers ?? [], /^x.adieu.subject$/i), [sub]);
    }
  });

  test(`${name}: a request that passes arrives whole, and an application's own refusal is its own`, async (t) => {
    const { node, get, seen } = await start(t, proxy);
    const jose = await node.logIn('jose');
    const body = 'x'.repeat(200_000);
    assert.equal((await get('/items', { token: jose.access, method: 'POST', body })).status, 200);
    assert.deepEqual([seen[0]?.method, seen[0]?.body], ['POST', body]);
    const own = await get('/teapot', { token: jose.access });
    assert.deepEqual([own.status, own.body], [401, '{"error":"of the application"}']);
  });

  test(`${name}: while Adieu does not know, or is not there, nothing passes`, async (t) => {
    const { node, get, seen } = await start(t, proxy, { max_staleness: '200ms' });
    const jose = await node.logIn('jose');
    node.breakLog();
    await eventually(async () => (await send(node.port, '/verify', { token: jose.access })).status === 503, 'it is stale');
    assert.deepEqual(refusal(await get('/items', { token: jose.access })), refusal(await send(node.port, '/verify', { token: jose.access })));

    await node.kill();
    const gone = await get('/items', { token: jose.access });
    assert.deepEqual([gone.status, gone.headers['retry-after']], proxy.gone);
    assert.equal(seen.length, 0);
  });
}
