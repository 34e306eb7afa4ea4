/** Stories of the account page in Chromium: `node --test tests/browser/*.test.mjs`. */

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { eventually } from '../../clients/node/test/support/node.js';
import { DEVICES, PASSWORD, close, logIn, person, rows, session, start, weight } from './support.mjs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

after(close);

test('a person logs in, sees every session, and ends one, the others and all', async (t) => {
  const node = await start(t);
  const phone = await session(node, 'jose', DEVICES.iphone);
  const script = await session(node, 'jose', DEVICES.curl, '192.0.2.77');
  const context = await person(t, node.url, { userAgent: DEVICES.firefox, errors: /status of 401/ });
  const page = await logIn(context, 'jose', 'wrong');
  assert.equal(await page.getByRole('alert').innerText(), 'The user name or the password is wrong.');
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('heading', { name: 'Where you are logged in' }).waitFor();
  assert.equal((await rows(page))[0], 'Firefox on Linux this device');
  assert.deepEqual((await rows(page)).slice(1).sort(), ['Safari on iPhone', 'curl']);
  assert.match(await page.locator('.row', { hasText: 'iPhone' }).innerText(), /198\.51\.100\.20 · logged in just now · last used just now/);

  await page.getByRole('button', { name: 'Log out Safari on iPhone 198.51.100.20' }).click();
  await page.getByText('ended just now').waitFor();
  assert.equal(await page.getByRole('status').first().innerText(), 'The session has been ended.');
  assert.deepEqual([await phone.isLive(), await script.isLive()], [false, true]);

  await page.getByRole('button', { name: 'Log out everywhere else' }).click();
  await page.getByText('You are logged in nowhere else.').waitFor();
  assert.equal(await script.isLive(), false);
  assert.equal(await page.getByRole('button', { name: 'Log out everywhere else' }).count(), 0);

  const again = await session(node, 'jose', DEVICES.curl);
  await page.getByText('Log out everywhere, here too').first().click();
  await page.getByLabel('Password', { exact: true }).last().fill('wrong');
  await page.getByRole('button', { name: 'Log out everywhere, here too' }).click();
  assert.equal(await page.getByRole('alert').innerText(), 'This is not the current password.');
  assert.equal(await again.isLive(), true);
  await page.getByLabel('Password', { exact: true }).last().fill(PASSWORD);
  await page.getByRole('button', { name: 'Log out everywhere, here too' }).click();
  await page.getByText('You have logged out everywhere.').waitFor();
  assert.equal(await again.isLive(), false);
  assert.deepEqual(await context.cookies(), []);
});

test('a person registers, and changes the password, which ends the other sessions', async (t) => {
  const node = await start(t, { min_password_length: '8' });
  const context = await person(t, node.url, { errors: /status of (400|401|409)/ });
  const page = await context.newPage();
  await page.goto('/account');
  await page.getByRole('link', { name: 'Register' }).click();
  const register = async (/** @type {string} */ name, /** @type {string} */ password) => {
    await page.getByLabel('User name').fill(name);
    await page.getByLabel('Password').fill(password);
    await page.getByRole('button', { name: 'Register' }).click();
  };
  await register('jose', PASSWORD);
  await page.getByText('This name is taken.').waitFor();
  await register('ana', 'short');
  await page.getByText('Choose a password of at least 8 characters.').waitFor();
  await register('ana', PASSWORD);
  await page.getByText('Your account has been created.').waitFor();
  await page.getByLabel('User name').fill('ana');
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in' }).click();
  const other = await session(node, 'ana', DEVICES.curl);
  await page.locator('summary', { hasText: 'Change password' }).click();
  const change = async (/** @type {string} */ current) => {
    await page.getByLabel('Current password').fill(current);
    await page.getByLabel('New password').fill('a new password');
    await page.getByRole('button', { name: 'Change password' }).click();
  };
  await change('wrong');
  await page.getByText('This is not the current password.').waitFor();
  assert.equal(await other.isLive(), true);
  await change(PASSWORD);
  await page.getByText('The password has been changed').waitFor();
  assert.equal(await other.isLive(), false);
  assert.equal((await fetch(`${node.url}/login`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ username: 'ana', password: 'a new password' }),
  })).status, 200);
});

/** Returns settings with an audit file. @param {import('node:test').TestContext} t */
function audited(t) {
  const folder = mkdtempSync(join(tmpdir(), 'adieu-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return { audit_log: join(folder, 'audit.jsonl') };
}

test('a person sees what has happened to the account', async (t) => {
  const node = await start(t, { ...audited(t), rotation_grace: '0s' });
  const stolen = await node.logIn('jose');
  await node.post('/refresh', { token: stolen.refresh });
  await assert.rejects(node.post('/refresh', { token: stolen.refresh }), /401/);
  const admin = await node.logInAsAdmin('ana');
  await session(node, 'jose', DEVICES.curl, '192.0.2.77');
  const context = await person(t, node.url, { userAgent: DEVICES.firefox, errors: /status of 401/ });
  const page = await logIn(context, 'jose', 'wrong');
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in' }).click();
  const events = page.locator('#events li');
  const texts = async () => (await events.locator('p:first-child').allInnerTexts());
  await events.first().waitFor();
  assert.deepEqual(await texts(), [
    'Logged in', 'Wrong password entered', 'Logged in', 'Session ended because an old refresh token was used again', 'Logged in', 'Account created',
  ]);
  assert.match(await events.nth(2).innerText(), /192\.0\.2\.77 · just now/);

  const headers = { authorization: `Bearer ${admin.access}` };
  const { sessions } = /** @type {any} */ (await (await fetch(`${node.url}/admin/sessions`, { headers })).json());
  const { id } = sessions.find((/** @type {any} */ listed) => listed.user_agent === DEVICES.curl);
  const ended = await fetch(`${node.url}/sessions/${id}`, { method: 'DELETE', headers });
  assert.equal(ended.status, 200);
  // A form that stays on the page shows what it has done; what renews the page leaves the events as they are.
  await page.locator('summary', { hasText: 'Change password' }).click();
  await page.getByLabel('Current password').fill(PASSWORD);
  await page.getByLabel('New password').fill('a new password');
  await page.getByRole('button', { name: 'Change password' }).click();
  await events.getByText('Password changed').waitFor();
  assert.deepEqual((await texts()).slice(0, 3), ['Password changed', 'Logged out by an administrator', 'Logged in']);
  const renewed = page.waitForResponse(/renew/);
  await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  await (await renewed).finished();
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve)));
  assert.equal((await texts())[0], 'Password changed');
});

test('a user who must change the password does so before the login', async (t) => {
  const node = await start(t);
  node.command('user', 'require-password-change', 'jose');
  const context = await person(t, node.url, { errors: /status of 403/ });
  const page = await logIn(context, 'jose');
  await page.getByRole('heading', { name: 'Choose a new password' }).waitFor();
  await page.getByLabel('Current password').fill(PASSWORD);
  await page.getByLabel('New password').fill('a new password');
  await page.getByRole('button', { name: 'Change password' }).click();
  await page.getByRole('heading', { name: 'Where you are logged in' }).waitFor();
});

test('a session that is ended in another browser shows at once, in each tab', async (t) => {
  const node = await start(t);
  // A tab may ask for the stream of the session that has just ended.
  const home = await person(t, node.url, { userAgent: DEVICES.firefox, errors: /status of 401/ });
  const work = await person(t, node.url, { userAgent: DEVICES.android });
  const first = await logIn(home, 'jose');
  const second = await home.newPage();
  await second.goto('/account');
  const page = await logIn(work, 'jose');
  const ended = [first, second].map((tab) => tab.getByText('Your session has ended').waitFor());
  await page.getByRole('button', { name: 'Log out Firefox on Linux' }).click();
  const started = performance.now();
  await Promise.all(ended);
  assert.ok(performance.now() - started < 20_000, 'long before the next refresh');
  assert.equal(await first.getByText('Where you are logged in').count(), 0);
  assert.deepEqual(await home.cookies(), []);
});

test('two tabs that refresh at the same time do not end the session', async (t) => {
  // Without a grace period, a refresh token that is used twice ends the session.
  const node = await start(t, { access_lifetime: '4s', rotation_grace: '0s' });
  // On a busy machine, a tab may use a token that has just expired.
  const context = await person(t, node.url, { errors: /status of 401/ });
  let refreshes = 0;
  context.on('request', (request) => (refreshes += Number(request.url().endsWith('/account/refresh'))));
  const page = await logIn(context, 'jose');
  await page.getByRole('heading', { name: 'Where you are logged in' }).waitFor();
  const tabs = [page, ...(await Promise.all([1, 2, 3].map(() => context.newPage())))];
  await Promise.all(tabs.slice(1).map((tab) => tab.goto('/account')));
  await eventually(() => refreshes >= 3, 'three refreshes');
  const isLive = async () => (await context.request.get('/account', { headers: { accept: 'application/json' } })).ok();
  await eventually(isLive, 'the session goes on');
  for (const tab of tabs) assert.equal(await tab.getByRole('heading').innerText(), 'Where you are logged in');
});

test('a browser with an expired access token goes on by itself', async (t) => {
  const node = await start(t);
  const context = await person(t, node.url);
  const page = await logIn(context, 'jose');
  await page.getByRole('heading', { name: 'Where you are logged in' }).waitFor();
  await page.goto('about:blank');
  await context.clearCookies({ name: '__Host-access_token' });
  await page.goto('/account');
  await page.getByRole('heading', { name: 'Where you are logged in' }).waitFor();
});

test('after a logout, the back button shows nothing', async (t) => {
  const node = await start(t);
  const context = await person(t, node.url);
  const page = await logIn(context, 'jose');
  await page.getByRole('button', { name: 'Log out', exact: true }).click();
  await page.getByText('You have logged out.').waitFor();
  await page.goBack();
  await page.getByRole('button', { name: 'Log in' }).waitFor();
  assert.doesNotMatch(await page.content(), /jose|this device/);
});

test('without scripts, each step works by forms', async (t) => {
  const node = await start(t);
  const other = await session(node, 'jose', DEVICES.curl);
  const context = await person(t, node.url, { javaScriptEnabled: false });
  const page = await logIn(context, 'jose');
  await page.getByRole('button', { name: 'Log out curl' }).click();
  await page.getByText('The session has been ended.').waitFor();
  assert.equal(await other.isLive(), false);
  await context.clearCookies({ name: '__Host-access_token' });
  await page.goto('/account');
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByRole('button', { name: 'Log out', exact: true }).click();
  await page.getByText('You have logged out.').waitFor();
  assert.deepEqual(await context.cookies(), []);
});

test('the keyboard is enough, and the focus is not lost', async (t) => {
  const node = await start(t);
  await session(node, 'jose', DEVICES.curl);
  const context = await person(t, node.url);
  const page = await context.newPage();
  await page.goto('/account');
  await page.keyboard.type('jose');
  await page.keyboard.press('Tab');
  await page.keyboard.type(PASSWORD);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Where you are logged in' }).waitFor();
  const focused = () => page.evaluate(() => document.activeElement?.textContent?.replace(/\s+/g, ' ').trim() ?? '');
  for (let steps = 0; !(await focused()).startsWith('Log out curl'); steps++) {
    assert.ok(steps < 10, await focused());
    await page.keyboard.press('Tab');
  }
  await page.keyboard.press('Enter');
  await page.getByText('ended just now').waitFor();
  assert.equal(await focused(), 'Where you are logged in');
});

test('a server that does not respond and a lost network are shown, and their end', async (t) => {
  const node = await start(t);
  const context = await person(t, node.url, { errors: /ERR_|net::|fetch/ });
  const page = await logIn(context, 'jose');
  await page.getByRole('heading', { name: 'Where you are logged in' }).waitFor();
  await context.setOffline(true);
  await page.getByText('You are offline.').waitFor();
  await context.setOffline(false);
  await page.getByText('You are offline.').waitFor({ state: 'hidden' });
  await node.kill();
  await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  await page.getByText(/The server does not respond\. This is as of \d\d:\d\d\./).waitFor();
});

test('what comes from outside is shown as text', async (t) => {
  const name = '<img src=x onerror=alert(1)>';
  const node = await start(t, {}, [name]);
  await session(node, name, '<script>alert(1)</script> Mozilla/5.0');
  await session(node, name, 'Mozilla/5.0 (X11; Linux) Firefox/1 \u00e2\u0080\u00ae"><b>'.padEnd(10_240, 'x'));
  await session(node, name, `${'é'.repeat(5_000)}`);
  const context = await person(t, node.url, { viewport: { width: 360, height: 740 } });
  const page = await logIn(context, name);
  await page.getByRole('heading', { name: 'Where you are logged in' }).waitFor();
  assert.equal(await page.locator('.who bdi').innerText(), name);
  assert.equal(await page.locator('main script, main img, main b').count(), 0);
  assert.equal(await page.locator('#sessions li').count(), 4);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'no line is too long');
  await page.goto(`/account?${'<script>alert(1)</script>'.repeat(400)}`);
  assert.equal(await page.locator('main script').count(), 0);
});

for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
  test(`axe-core reports nothing, ${colorScheme}`, async (t) => {
    const node = await start(t, audited(t));
    await session(node, 'jose', DEVICES.iphone);
    const errors = /status of 401/;
    const context = await person(t, node.url, { colorScheme, bypassCSP: true, reducedMotion: 'reduce', errors });
    const page = await logIn(context, 'jose', 'wrong');
    const isClean = async (/** @type {string} */ where) => {
      await page.evaluate(AXE);
      const { violations } = await page.evaluate(() => /** @type {any} */ (globalThis).axe.run());
      assert.deepEqual(violations.map((/** @type {any} */ { id, nodes }) => [where, id, nodes[0].html]), []);
    };
    await isClean('a failed login');
    await page.goto('/account?register');
    await isClean('registration');
    await page.close();
    const account = await logIn(context, 'jose');
    await account.getByRole('button', { name: 'Log out Safari' }).click();
    await account.getByText('ended just now').waitFor();
    await account.getByRole('heading', { name: 'Recent events' }).waitFor();
    for (const summary of await account.locator('summary').all()) {
      await summary.click();
      await account.evaluate(AXE);
      const { violations } = await account.evaluate(() => /** @type {any} */ (globalThis).axe.run());
      assert.deepEqual(violations.map((/** @type {any} */ { id, nodes }) => [id, nodes[0].html]), []);
    }
  });
}

test('the page is in the language of the browser', async (t) => {
  const node = await start(t);
  const context = await person(t, node.url, { locale: 'de-AT', userAgent: DEVICES.firefox });
  const page = await context.newPage();
  await page.goto('/account');
  await page.getByLabel('Benutzername').fill('jose');
  await page.getByLabel('Passwort').fill(PASSWORD);
  await page.getByRole('button', { name: 'Anmelden' }).click();
  await page.getByRole('heading', { name: 'Wo Sie angemeldet sind' }).waitFor();
  assert.deepEqual(await rows(page), ['Firefox unter Linux dieses Gerät']);
  assert.equal(await page.locator('html').getAttribute('lang'), 'de');
});

test('the page with all that it loads is smaller than 60 KB', async (t) => {
  const node = await start(t);
  await session(node, 'jose', DEVICES.curl);
  const context = await person(t, node.url);
  const page = await logIn(context, 'jose');
  await page.getByRole('heading', { name: 'Where you are logged in' }).waitFor();
  await page.reload({ waitUntil: 'load' });
  const total = await weight(page);
  t.diagnostic(`${total} bytes compressed`);
  assert.ok(total <= 60_000, `${total}`);
});
