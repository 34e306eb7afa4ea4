/** A real browser in front of a real node. */

import assert from 'node:assert/strict';
import { gzipSync } from 'node:zlib';

import { chromium } from 'playwright-core';

import { Node } from '../../clients/node/test/support/node.js';
import { LAUNCH } from './chromium.mjs';

/** @typedef {import('node:test').TestContext} TestContext */
/** @typedef {import('playwright-core').Page} Page */
/** @typedef {import('playwright-core').BrowserContextOptions & { errors?: RegExp }} Options */

export const PASSWORD = 'correct horse battery staple';
/** Devices, as their browsers name themselves. */
export const DEVICES = {
  firefox: 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0',
  iphone: 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1',
  android: 'Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Mobile Safari/537.36',
  curl: 'curl/8.10.1',
};

const browser = await chromium.launch(LAUNCH);

/** @typedef {{ contexts: import('playwright-core').BrowserContext[], reported: string[] }} Opened */

/** The browsers of a test, and the errors that they reported. @type {WeakMap<TestContext, Opened>} */
const opened = new WeakMap();

export const close = () => browser.close();

/**
 * Opens a browser of a person, with cookies of its own. After the test, it fails if the browser reported an error, a violation of the
 * content security policy or a request to another host.
 * @param {TestContext} t @param {string} url
 * @param {Options} [options] `errors` are expected in the console
 */
export async function person(t, url, { errors, ...options } = {}) {
  const context = await browser.newContext({ locale: 'en-GB', baseURL: url, ...options });
  const { contexts, reported } = opened.get(t) ?? { contexts: [], reported: [] };
  context.on('request', (request) => {
    if (!request.url().startsWith(`${url}/`)) reported.push(`a request to ${request.url()}`);
  });
  context.on('console', (message) => {
    if (['error', 'warning'].includes(message.type()) && !errors?.test(message.text())) reported.push(message.text());
  });
  context.on('weberror', (error) => reported.push(`${error.error()}`));
  contexts.push(context);
  return context;
}

/** Logs in on the page. @param {import('playwright-core').BrowserContext} context @param {string} username */
export async function logIn(context, username, password = PASSWORD) {
  const page = await context.newPage();
  await page.goto('/account');
  await page.getByLabel('User name').fill(username);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByRole('button', { name: 'Log in' }).click();
  return page;
}

/**
 * Starts a session over the API, from a device and an address.
 * @param {Node} node @param {string} username @param {string} device @param {string} [address] @param {string} [password]
 */
export async function session(node, username, device, address = '198.51.100.20', password = PASSWORD) {
  const response = await fetch(`${node.url}/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'user-agent': device, 'x-forwarded-for': address },
    body: JSON.stringify({ username, password }),
  });
  assert.equal(response.status, 200, await response.clone().text());
  const { access_token } = /** @type {{ access_token: string }} */ (await response.json());
  return { isLive: async () => (await fetch(`${node.url}/verify`, { headers: { authorization: `Bearer ${access_token}` } })).ok };
}

/** Starts a node with a user. @param {TestContext} t @param {Record<string, string>} [settings] @param {string[]} [users] */
export async function start(t, settings = {}, users = ['jose']) {
  /** @type {Opened} */
  const { contexts, reported } = { contexts: [], reported: [] };
  opened.set(t, { contexts, reported });
  t.after(() => Promise.all(contexts.map((context) => context.close())));
  const node = await Node.start(t, { trusted_proxies: '127.0.0.1/32', registration: 'open', ...settings });
  // Last: if a hook fails, the later ones do not run, and the test would wait for its node for ever.
  t.after(() => assert.deepEqual(reported, []));
  for (const username of users) {
    const body = JSON.stringify({ username, password: PASSWORD });
    const response = await fetch(`${node.url}/register`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    assert.equal(response.status, 201);
  }
  return node;
}

/** The rows of the list, as people read them. @param {Page} page */
export async function rows(page) {
  return (await page.locator('#sessions .what > p:first-child').allInnerTexts()).map((text) => text.trim());
}

/**
 * The number of bytes of a page and all that it has loaded, compressed, without its stream of events.
 * @param {Page} page @param {RegExp} [except] what does not count
 */
export async function weight(page, except = /^$/) {
  const loaded = await page.evaluate(() => [location.href, ...performance.getEntriesByType('resource').map(({ name }) => name)]);
  const urls = [...new Set(loaded)].filter((url) => !url.endsWith('/events') && !except.test(url));
  assert.ok(urls.length >= 5, urls.join());
  const sizes = await Promise.all(urls.map(async (url) => gzipSync(await (await page.request.get(url)).body()).length));
  return sizes.reduce((sum, size) => sum + size, 0);
}
