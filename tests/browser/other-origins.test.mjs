/** Pages of other origins in a real browser, in front of a real node. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request as ask } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { chromium } from 'playwright-core';

import { Node } from '../../clients/node/test/support/node.js';
import { LAUNCH } from './chromium.mjs';

/** @typedef {import('node:test').TestContext} TestContext */
/** @typedef {import('playwright-core').Page} Page */
/** @typedef {{ status: number, body?: any, challenge?: string | null } | 'blocked'} Seen */

const PASSWORD = 'correct horse battery staple';

/** A folder of a test. */
const temporary = () => mkdtempSync(join(tmpdir(), 'adieu-'));

/** Opens a browser of a person who does not block the cookies of other sites. @param {TestContext} t */
async function openBrowser(t) {
  const profile = temporary();
  mkdirSync(join(profile, 'Default'));
  writeFileSync(join(profile, 'Default', 'Preferences'), JSON.stringify({ profile: { cookie_controls_mode: 0, block_third_party_cookies: false } }));
  const context = await chromium.launchPersistentContext(profile, { ...LAUNCH, ignoreHTTPSErrors: true });
  t.after(async () => {
    await context.close();
    rmSync(profile, { recursive: true, maxRetries: 5 });
  });
  return context;
}

/** Serves an empty page, on another site than the node: it is called localhost, and the node 127.0.0.1. @param {TestContext} t */
async function site(t) {
  const server = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<!doctype html><title>page</title>'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return `http://localhost:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`;
}

/** A proxy with TLS, as browsers require for the cookies, in front of a node. @param {TestContext} t @param {Node} node */
async function withTls(t, node) {
  const folder = temporary();
  t.after(() => rmSync(folder, { recursive: true }));
  const [key, cert] = ['key.pem', 'cert.pem'].map((file) => join(folder, file));
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'];
  const made = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1', '-keyout', key, '-out', cert];
  execFileSync('openssl', ['req', ...made, ...subject], { stdio: 'ignore' });
  const server = createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) }, (request, response) => {
    const { method, url, headers } = request;
    const passed = ask({ port: node.port, host: '127.0.0.1', method, path: url, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    request.pipe(passed);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return `https://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`;
}

/** Starts a node with a user, and a browser with a page of each of two sites; the node allows the first. @param {TestContext} t */
async function start(t, settings = {}) {
  const [allowed, other] = [await site(t), await site(t)];
  const node = await Node.start(t, { allowed_origins: allowed, ...settings });
  const body = JSON.stringify({ username: 'jose', password: PASSWORD });
  const registered = await fetch(`${node.url}/register`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  assert.equal(registered.status, 201);
  const context = await openBrowser(t);
  const open = async (/** @type {string} */ origin) => {
    const page = await context.newPage();
    await page.goto(origin);
    return page;
  };
  return { url: await withTls(t, node), context, app: await open(allowed), evil: await open(other) };
}

/**
 * Sends a request from the script of a page, and returns what that script sees of the response.
 * @param {Page} page @param {string} url @param {RequestInit} [init] @returns {Promise<Seen>}
 */
const call = (page, url, init = {}) =>
  page.evaluate(
    async ([url, init]) => {
      const response = await fetch(url, init).catch(() => undefined);
      if (!response) return 'blocked';
      const text = await response.text();
      const body = response.headers.get('content-type')?.includes('json') ? JSON.parse(text) : text;
      return { status: response.status, body, challenge: response.headers.get('www-authenticate') };
    },
    /** @type {const} */ ([url, init]),
  );

const login = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ username: 'jose', password: PASSWORD }) };

/** @param {Seen} seen @param {number} status */
function read(seen, status) {
  assert.ok(seen !== 'blocked', 'the browser lets the page read the response');
  assert.equal(seen.status, status, JSON.stringify(seen));
  return seen;
}

test('a page of an allowed origin uses the API with a bearer token, and another page can do nothing', async (t) => {
  const { url: node, app, evil } = await start(t);
  const { access_token: token } = read(await call(app, `${node}/login`, login), 200).body;
  const authorization = { headers: { authorization: `Bearer ${token}` } };
  assert.equal(read(await call(app, `${node}/sessions`, authorization), 200).body.sessions.length, 1);

  assert.equal(await call(evil, `${node}/login`, login), 'blocked');
  assert.equal(await call(evil, `${node}/sessions`, authorization), 'blocked');
  assert.equal(await call(evil, `${node}/logout`, { method: 'POST', ...authorization }), 'blocked');
  assert.equal(await call(evil, `${node}/livez`), 'blocked');
  assert.equal(read(await call(evil, `${node}/.well-known/jwks.json`), 200).body.keys.length > 0, true);

  assert.equal(read(await call(app, `${node}/sessions`, authorization), 200).body.sessions.length, 1);
  read(await call(app, `${node}/logout`, { method: 'POST', ...authorization }), 200);
  const revoked = read(await call(app, `${node}/sessions`, authorization), 401);
  assert.match(revoked.challenge ?? '', /revoked/, 'the challenge is exposed');
});

const COOKIES = { token_cookies: 'adieu' };
/** @param {RequestInit} [init] */
const withCookies = (init = {}) => /** @type {RequestInit} */ ({ credentials: 'include', ...init });
/** @param {string} value */
const proof = (value) => withCookies({ method: 'POST', headers: { 'x-csrf-token': value } });

test('a page on another site logs in, refreshes by cookie, lists its sessions and logs out', async (t) => {
  const { url: node, context, app, evil } = await start(t, { ...COOKIES, send_cookies_from_every_site: 'true' });
  const url = (/** @type {string} */ path) => `${node}${path}`;
  const tokens = read(await call(app, url('/login?cookies=true'), withCookies(login)), 200).body;
  assert.equal(tokens.access_token, undefined, 'scripts do not get the tokens');
  assert.equal(read(await call(app, url('/sessions'), withCookies()), 200).body.sessions.length, 1);
  const cookies = await context.cookies(node);
  assert.deepEqual(cookies.filter(({ httpOnly }) => httpOnly).map(({ name }) => name).sort(), ['__Host-access_token', '__Host-refresh_token']);

  // The browser sends the cookies with what another page causes, which neither reads nor changes anything.
  assert.equal(await call(evil, url('/sessions'), withCookies()), 'blocked');
  assert.equal(await call(evil, url('/refresh'), proof(tokens.csrf_refresh_token)), 'blocked');
  for (const path of ['/logout', '/logout?scope=all', '/refresh', '/login?cookies=true', '/password']) {
    const sent = context.waitForEvent('request', (request) => request.url() === url(path));
    const page = await context.newPage();
    await page.goto(evil.url());
    const posted = page.waitForNavigation();
    await page.evaluate((action) => {
      const form = document.createElement('form');
      Object.assign(form, { method: 'POST', action, enctype: 'text/plain' });
      const field = Object.assign(document.createElement('input'), { name: '{"username":"jose","password":"', value: '"}' });
      form.append(field);
      document.body.append(form);
      form.submit();
    }, url(path));
    const response = await posted;
    const { cookie = '' } = await (await sent).allHeaders();
    assert.match(cookie, /__Host-access_token=/, 'the forged request has the cookies');
    assert.ok([401, 415].includes(response?.status() ?? 0), `${path}: ${response?.status()}`);
    await page.close();
  }
  assert.deepEqual(await context.cookies(node), cookies, 'no forged request has changed a cookie');
  assert.equal(read(await call(app, url('/sessions'), withCookies()), 200).body.sessions.length, 1);

  read(await call(app, url('/refresh'), withCookies({ method: 'POST' })), 401);
  const refreshed = read(await call(app, url('/refresh'), proof(tokens.csrf_refresh_token)), 200).body;
  const listed = read(await call(app, url('/sessions'), withCookies()), 200).body.sessions;
  assert.equal(listed.length, 1);
  assert.equal(listed[0].current, true);
  read(await call(app, url('/logout'), proof(refreshed.csrf_access_token)), 200);
  assert.deepEqual(await context.cookies(node), []);
  read(await call(app, url('/sessions'), withCookies()), 401);
});

test('without the setting that sends cookies from every site, a page on another site has none', async (t) => {
  const { url: node, context, app } = await start(t, COOKIES);
  read(await call(app, `${node}/login?cookies=true`, withCookies(login)), 200);
  assert.deepEqual(await context.cookies(node), []);
  read(await call(app, `${node}/sessions`, withCookies()), 401);
});
