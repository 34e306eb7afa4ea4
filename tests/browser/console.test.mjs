/** Stories of the console in Chromium. */

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { eventually, startService } from '../../clients/node/test/support/node.js';
import { DEVICES, PASSWORD, close, logIn, person, session, start, weight } from './support.mjs';

/** @typedef {import('playwright-core').Page} Page */
/** @typedef {import('node:test').TestContext} TestContext */

const require = createRequire(import.meta.url);
const AXE = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const SECTIONS = ['', '/users', '/sessions', '/revocations', '/token', '/clients', '/aliases', '/keys', '/deliveries', '/audit'];

after(close);

/**
 * Starts a node with the administrator ana and the users jose and maria, and opens the console.
 * @param {TestContext} t @param {Record<string, string>} [settings] @param {import('./support.mjs').Options} [options]
 */
async function open(t, settings, options) {
  const node = await start(t, settings, ['ana', 'jose', 'maria']);
  node.command('user', 'promote', 'ana');
  const context = await person(t, node.url, { userAgent: DEVICES.firefox, errors: /status of 4\d\d/, ...options });
  const page = await context.newPage();
  await page.goto('/console');
  await page.getByLabel('User name').fill('ana');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  return { node, context, page };
}

/** Fills in the password where an action needs it. @param {Page} page @param {string} [password] */
const password = (page, password = PASSWORD) => page.getByLabel('Your password').fill(password);

test('only administrators see the console, and nothing of it is left after the logout', async (t) => {
  const { context, page, node } = await open(t);
  const other = await person(t, node.url, { errors: /status of 403/ });
  const ordinary = await logIn(other, 'jose');
  await ordinary.getByRole('heading', { name: 'Where you are logged in' }).waitFor();
  for (const section of [...SECTIONS, '/users/x']) {
    const response = await ordinary.goto(`/console${section}`);
    assert.equal(response?.status(), 403, section);
    assert.equal(await ordinary.getByRole('alert').innerText(), 'The console is for administrators.');
  }
  await page.goto('/console/users');
  await page.getByRole('link', { name: 'maria' }).waitFor();
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.getByText('You have logged out.').waitFor();
  assert.equal(new URL(page.url()).pathname, '/console');
  await page.goBack();
  await page.getByRole('button', { name: 'Log in' }).waitFor();
  assert.doesNotMatch(await page.content(), /maria/);
  assert.deepEqual(await context.cookies(), []);
});

test('an administrator finds a user, and does with it what the page has announced', async (t) => {
  const { node, page } = await open(t);
  const phone = await session(node, 'jose', DEVICES.iphone);
  const script = await session(node, 'jose', DEVICES.curl);
  await page.getByRole('link', { name: 'Users' }).click();
  await page.getByLabel('User name').fill('OS');
  await page.getByRole('button', { name: 'Search' }).click();
  assert.deepEqual(await page.locator('tbody th').allInnerTexts(), ['jose']);
  await page.getByRole('link', { name: 'jose' }).click();
  assert.deepEqual((await page.locator('tbody td:first-child').allInnerTexts()).sort(), ['Safari on iPhone', 'curl']);
  await page.getByRole('link', { name: 'Log out everywhere' }).click();
  await page.getByText('2 sessions end.').waitFor();
  await page.getByText('The same without this page').click();
  await page.getByText('adieu session end --user jose').waitFor();
  assert.deepEqual([await phone.isLive(), await script.isLive()], [true, true], 'nothing has happened yet');
  await page.getByRole('button', { name: 'Log out everywhere' }).click();
  assert.equal(await page.getByRole('status').first().innerText(), 'Done. 2 sessions ended.');
  await page.locator('#progress').getByText('It holds everywhere: 1 confirmed it.').waitFor();
  assert.deepEqual([await phone.isLive(), await script.isLive()], [false, false]);

  await page.getByRole('link', { name: 'Reset the password' }).click();
  await password(page, 'wrong');
  await page.getByRole('button', { name: 'Reset the password' }).click();
  assert.equal(await page.getByRole('alert').innerText(), 'This is not the current password.');
  await password(page);
  await page.getByRole('button', { name: 'Reset the password' }).click();
  const token = await page.locator('pre code').first().innerText();
  await node.post('/password/reset', { body: { token, new_password: 'a new password' } });

  await page.getByRole('link', { name: 'Make administrator' }).click();
  await password(page);
  await page.getByRole('button', { name: 'Make administrator' }).click();
  await page.locator('.pill', { hasText: 'administrator' }).waitFor();
  const again = await session(node, 'jose', DEVICES.iphone, undefined, 'a new password');
  await page.getByRole('link', { name: 'Make ordinary user' }).click();
  await page.getByText('1 session ends.').waitFor();
  assert.equal(await again.isLive(), true);
  await page.getByRole('button', { name: 'Make ordinary user' }).click();
  await page.getByText('Done. 1 session ended.').waitFor();
  assert.equal(await again.isLive(), false);
  await page.locator('.pill', { hasText: 'administrator' }).waitFor({ state: 'detached' });
  for (const device of [DEVICES.iphone, DEVICES.curl]) await session(node, 'jose', device, undefined, 'a new password');
  await page.getByRole('link', { name: 'Disable' }).click();
  await page.getByText('2 sessions end.').waitFor();
  await page.getByRole('button', { name: 'Disable' }).click();
  await page.getByText('Done. 2 sessions ended.').waitFor();
  await page.locator('.pill', { hasText: 'disabled' }).waitFor();
  const refused = await fetch(`${node.url}/login`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ username: 'jose', password: 'a new password' }),
  });
  assert.equal(refused.status, 401);
  await page.goto('/console/users?which=disabled');
  assert.deepEqual(await page.locator('tbody th').allInnerTexts(), ['jose']);

  await page.goto('/console/users?name=ana');
  await page.getByRole('link', { name: 'ana', exact: true }).last().click();
  await page.getByRole('link', { name: 'Disable' }).click();
  await page.getByRole('button', { name: 'Disable' }).click();
  assert.match(await page.getByRole('alert').innerText(), /Nothing was changed/);
});

test('the users are sorted by what an administrator clicks on', async (t) => {
  const { node, page } = await open(t);
  await session(node, 'maria', DEVICES.curl);
  await page.getByRole('link', { name: 'Users' }).click();
  const names = async () => (await page.locator('tbody th').allInnerTexts()).join(' ');
  assert.equal(await names(), 'ana jose maria');
  await page.getByRole('link', { name: 'Created' }).click();
  await page.getByRole('columnheader', { name: 'Created' }).and(page.locator('[aria-sort=descending]')).waitFor();
  assert.equal(await names(), 'maria jose ana');
  await page.getByRole('link', { name: 'Name', exact: true }).click();
  await page.locator('[aria-sort=ascending]', { hasText: 'Name' }).waitFor();
  await page.getByLabel('User name').fill('a');
  await page.getByRole('button', { name: 'Search' }).click();
  await page.locator('[aria-sort=ascending]', { hasText: 'Name' }).waitFor();
  assert.equal(await names(), 'ana maria');
  await page.getByRole('link', { name: 'Name', exact: true }).click();
  await page.locator('[aria-sort=descending]', { hasText: 'Name' }).waitFor();
  assert.equal(await names(), 'maria ana');
});

test('an administrator revokes a session, a claim and everything', async (t) => {
  const { node, page } = await open(t, { revocable_claims: 'tenant' });
  const phone = await session(node, 'jose', DEVICES.iphone);
  const script = await session(node, 'maria', DEVICES.curl);
  await page.getByRole('link', { name: 'Sessions', exact: true }).click();
  await page.getByLabel('Device or address contains').fill('iphone');
  await page.getByRole('button', { name: 'Search' }).click();
  assert.equal(await page.locator('tbody tr').count(), 1);
  await page.getByRole('link', { name: /^End/ }).click();
  await page.getByText('1 session ends.').waitFor();
  await page.getByRole('button', { name: /^Revoke: session/ }).click();
  await page.getByText('Done. 1 session ended.').waitFor();
  assert.deepEqual([await phone.isLive(), await script.isLive()], [false, true]);

  const revoke = async (/** @type {string} */ kind, /** @type {string} */ value) => {
    await page.getByLabel('What').selectOption(kind);
    await page.getByLabel('Which one').fill(value);
    await page.getByRole('button', { name: 'Continue' }).click();
  };
  await revoke('claim', 'role=x');
  assert.match(await page.getByRole('alert').innerText(), /revocable_claims/);
  // Somebody may choose the id of another user as a name.
  const html = await (await page.request.get('/console/users?name=jose')).text();
  const id = `${/users\/([0-9a-f-]{36})/.exec(html)?.[1]}`;
  await node.post('/register', { body: { username: id, password: PASSWORD } });
  await revoke('user', id);
  await page.getByRole('heading', { name: /^Revoke: user of this server jose/ }).waitFor();
  await revoke('user', 'nobody');
  assert.equal(await page.getByRole('alert').innerText(), 'There is no such user.');
  await revoke('claim', 'tenant=acme & co');
  await page.getByText('The same without this page').click();
  await page.getByText("adieu revoke --claim 'tenant=acme & co'").waitFor();
  await page.getByRole('button', { name: /^Revoke: claim/ }).click();
  await page.getByText('It holds everywhere').waitFor();
  assert.equal(await page.locator('tbody th').first().innerText(), 'tenant=acme & co');
  await revoke('user', 'maria');
  await page.getByRole('button', { name: /^Revoke: user/ }).click();
  await page.getByText('Done. 1 session ended.').waitFor();
  assert.equal(await script.isLive(), false);

  await page.getByLabel('Id or value contains').fill('acme');
  await page.getByRole('button', { name: 'Search' }).click();
  assert.deepEqual(await page.locator('tbody th').allInnerTexts(), ['tenant=acme & co']);

  const again = await session(node, 'maria', DEVICES.curl);
  await revoke('everything', '');
  await page.getByLabel('To confirm, type everything').fill('everythin');
  await password(page);
  await page.getByRole('button', { name: /^Revoke: everything/ }).click();
  assert.match(await page.getByRole('alert').innerText(), /Nothing was changed/);
  assert.equal(await again.isLive(), true);
  await page.getByLabel('To confirm, type everything').fill('everything');
  await password(page);
  await page.getByRole('button', { name: /^Revoke: everything/ }).click();
  await page.getByText('Your session has ended').waitFor();
  assert.equal(await again.isLive(), false);
});

test('a token is explained', async (t) => {
  const { node, page } = await open(t);
  const { access } = await node.logIn('jose');
  await page.getByRole('link', { name: 'Inspect a token' }).click();
  const explain = async (/** @type {string} */ token) => {
    await page.getByLabel('Token', { exact: true }).fill(token);
    await page.getByRole('button', { name: 'Explain' }).click();
    return (await page.locator('.steps li').allInnerTexts()).map((text) => text.replace(/\s+/g, ' '));
  };
  const [form, signature, claims, revocation, live] = await explain(`Bearer ${access}`);
  assert.match(await page.getByRole('heading', { name: 'Verdict' }).innerText(), /accepted/);
  assert.match(`${form} ${signature} ${claims}`, /Form a token .* Signature by the key .* Claims issuer, audience/);
  assert.deepEqual([revocation, live], ['Revocation no revocation applies', 'Session goes on']);
  await node.logOut(access);
  const [, , , revoked, ended] = await explain(access);
  assert.match(await page.getByRole('heading', { name: 'Verdict' }).innerText(), /rejected/);
  assert.match(`${revoked}`, /this revocation applies: the token has been revoked/);
  assert.equal(ended, 'Session has ended');
  const [, wrong, unread] = await explain(`${access.slice(0, -4)}AAAA`);
  assert.match(`${wrong}`, /nothing that the token says can be trusted/);
  assert.match(`${unread}`, /not reached/);
  assert.match(`${(await explain('<script>alert(1)</script>'))[0]}`, /malformed/);
});

test('a revocation is shown node by node until it holds everywhere', async (t) => {
  const { node, page } = await open(t, { max_staleness: '15s' }, { bypassCSP: true, reducedMotion: 'reduce', errors: /net::ERR_FAILED/ });
  await startService(t, node, { url: node.url, maxStaleness: 15_000 });
  const { service } = await startService(t, node, { url: node.url, maxStaleness: 15_000 });
  await page.locator('[data-party^=service-]').nth(1).getByText('fresh').waitFor();
  service.kill('SIGSTOP');
  const progress = page.locator('#progress');
  const states = async () => (await progress.locator('.pill').allInnerTexts()).sort();
  await page.route(/wait=everywhere/, (route) => route.abort(), { times: 1 });
  await page.goto('/console/revocations?kind=subject&value=x');
  await page.getByRole('button', { name: /^Revoke: subject/ }).click();
  await page.getByText('Done.').waitFor();
  await progress.getByText('Confirmed: 2/3').waitFor();
  assert.deepEqual(await states(), ['has it', 'has it', 'not yet']);
  await isClean(page);
  await progress.getByText('It holds everywhere: 2 confirmed it, 1 silent and rejecting by now.').waitFor();
  service.kill('SIGCONT');
  await page.reload();
  await page.getByRole('heading', { name: 'Revocations' }).waitFor();
  assert.equal(await progress.count(), 0, 'what was done is not in the address');
});

test('a follower that stops is shown within its bound, and its return too', async (t) => {
  const { node, page } = await open(t);
  const { service } = await startService(t, node, { url: node.url, maxStaleness: 2_000 });
  const party = page.locator('[data-party^=service-]');
  await party.getByText('fresh').waitFor();
  await page.getByRole('link', { name: 'Clients' }).click();
  const [client, follower] = [page.locator('tr', { hasText: 'service-' }).first(), page.locator('tr', { hasText: /adieu-node\/\d/ })];
  for (const row of [client, follower]) await row.getByText('fresh').waitFor();
  await page.goBack();
  await party.getByText('fresh').waitFor();
  service.kill('SIGSTOP');
  await party.getByText(/not connected|stale/).waitFor();
  await page.locator('#warnings', { hasText: 'Silent followers: service-' }).waitFor();
  service.kill('SIGCONT');
  await party.getByText('fresh').waitFor();
  await page.locator('#warnings', { hasText: 'Silent followers' }).waitFor({ state: 'hidden' });
});

test('the overview counts what happens, without being loaded again', async (t) => {
  const { node, page } = await open(t);
  await page.locator('canvas').nth(1).waitFor();
  const { access } = await node.logIn('jose');
  await node.logOut(access);
  await fetch(`${node.url}/verify`, { headers: { authorization: `Bearer ${access}` } });
  await page.locator('.tile', { hasText: 'Rejected tokens' }).getByText('1 of them revoked').waitFor();
  await page.locator('.tile', { hasText: 'Revocations in force' }).getByText('log position 1').waitFor();
});

test('keys are rotated and removed, and the audit trail says by whom', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'adieu-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const { node, page } = await open(t, { audit_log: join(folder, 'audit.jsonl') });
  await page.getByRole('link', { name: 'Keys' }).click();
  await page.getByRole('link', { name: 'Rotate' }).click();
  await password(page);
  await page.getByRole('button', { name: 'Rotate' }).click();
  await page.getByText('Done.').waitFor();
  assert.equal(await page.locator('tbody tr').count(), 2);
  await page.goto('/console/audit?event=key_added');
  // The core has recorded it too, without knowing who asked.
  await page.locator('tbody tr', { hasText: 'key_added' }).locator('td', { hasText: /^ana$/ }).first().waitFor();
  const exported = await page.request.get('/console/audit?event=login&export=jsonl');
  const lines = (await exported.text()).trim().split('\n').map((line) => JSON.parse(line));
  assert.ok(lines.length > 0 && lines.every(({ event }) => event.includes('login')));

  const { access } = await node.logIn('jose');
  await page.goto('/console/keys');
  await page.locator('tr:has(.pill)').getByRole('link', { name: /^Remove/ }).click();
  await page.getByText('It signs now').waitFor();
  await password(page);
  await page.getByRole('button', { name: /^Remove this key/ }).click();
  await page.getByText('Your session has ended').waitFor();
  assert.equal((await fetch(`${node.url}/verify`, { headers: { authorization: `Bearer ${access}` } })).status, 401);
});

/** Expects nothing from axe-core, and no page wider than the window. @param {Page} page */
async function isClean(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => /** @type {any} */ (globalThis).axe.run());
  assert.deepEqual(violations.map((/** @type {any} */ { id, nodes }) => [page.url(), id, nodes[0].html]), []);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'wider than the window');
}

for (const javaScriptEnabled of [true, false]) {
  test(`an administrator adds, changes and removes a client ${javaScriptEnabled ? 'with' : 'without'} scripts`, async (t) => {
    const options = javaScriptEnabled ? { bypassCSP: true, viewport: { width: 360, height: 740 }, reducedMotion: /** @type {const} */ ('reduce') } : { javaScriptEnabled };
    const { node, page } = await open(t, {}, options);
    const check = async () => javaScriptEnabled && isClean(page);
    const asks = async (/** @type {string} */ secret) => {
      const authorization = `Basic ${Buffer.from(`shop:${secret}`).toString('base64')}`;
      const response = await fetch(`${node.url}/introspect`, { method: 'POST', headers: { authorization }, body: new URLSearchParams({ token: 'x' }) });
      return response.status;
    };
    const secret = () => page.locator('pre code').first().innerText();
    await page.getByRole('link', { name: 'Clients' }).click();
    await page.getByText('No services have credentials yet.').waitFor();
    await page.getByRole('link', { name: 'Add a client' }).click();
    await page.getByLabel('Name', { exact: true }).fill('<b>shop');
    await page.getByRole('checkbox', { name: /^follow/ }).check();
    await check();
    await page.getByRole('button', { name: 'Continue' }).click();
    assert.match(await page.getByRole('alert').innerText(), /1 to 64 letters/);
    assert.equal(await page.getByLabel('Name', { exact: true }).inputValue(), '<b>shop');
    await page.getByLabel('Name', { exact: true }).fill('shop');
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByText('Anyone who has the secret can do this.').waitFor();
    await check();
    await password(page, 'wrong');
    await page.getByRole('button', { name: 'Add a client: shop' }).click();
    assert.equal(await page.getByRole('alert').innerText(), 'This is not the current password.');
    await password(page);
    await page.getByRole('button', { name: 'Add a client: shop' }).click();
    await page.getByText('It is shown only now.').waitFor();
    await check();
    const first = await secret();
    assert.equal(await asks(first), 403, 'it may not introspect yet');
    await page.goto('/console/clients');
    assert.doesNotMatch(await page.content(), new RegExp(first));

    await page.getByRole('link', { name: 'Change shop' }).click();
    assert.ok(await page.getByRole('checkbox', { name: /^follow/ }).isChecked());
    await page.getByRole('checkbox', { name: /^introspect asks about all/ }).check();
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByText('The same without this page').click();
    await page.getByText('adieu client change shop --capabilities follow,introspect').waitFor();
    await password(page);
    await page.getByRole('button', { name: 'Change the client: shop' }).click();
    await page.getByText('Done.').waitFor();
    await eventually(async () => (await asks(first)) !== 403, 'the change is known');
    assert.equal(await asks(first), 200);
    await page.getByRole('link', { name: 'New secret shop' }).click();
    await password(page);
    await page.getByRole('button', { name: 'New secret for the client: shop' }).click();
    const second = await secret();
    assert.equal(await asks(second), 200);
    assert.equal(await asks(first), 401);
    await page.getByRole('link', { name: 'Remove shop' }).click();
    await check();
    await password(page);
    await page.getByRole('button', { name: 'Remove the client: shop' }).click();
    await page.getByText('No services have credentials yet.').waitFor();
    await eventually(async () => (await asks(second)) !== 200, 'the removal is known');
    assert.equal(await asks(second), 401);
  });
}

test('an administrator adds, finds and removes an alias', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'adieu-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'secret');
  writeFileSync(file, '0123456789abcdef'.repeat(4), { mode: 0o600 });
  const trusted = `[{name = "https://login.example", secret_file = "${file}"}]`;
  const { page } = await open(t, { trusted_issuer: trusted }, { bypassCSP: true, viewport: { width: 360, height: 740 }, reducedMotion: 'reduce' });
  await page.getByRole('link', { name: 'Aliases' }).click();
  await page.getByLabel('Subject').first().fill('00u1');
  await page.getByLabel('Alias', { exact: true }).first().fill('Jose@Example.com');
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByText('Events of the issuer that name a user by it end this subject too.').waitFor();
  await isClean(page);
  await password(page, 'wrong');
  await page.getByRole('button', { name: /^Add an alias/ }).click();
  assert.equal(await page.getByRole('alert').innerText(), 'This is not the current password.');
  await password(page);
  await page.getByRole('button', { name: /^Add an alias/ }).click();
  await page.getByText('Done.').waitFor();
  await page.getByRole('search').getByLabel('Alias', { exact: true }).fill('jose@example.com');
  await page.getByRole('button', { name: 'Search' }).click();
  assert.deepEqual(await page.locator('tbody th').allInnerTexts(), ['jose@example.com']);
  assert.doesNotMatch(page.url(), /jose/);
  await isClean(page);
  await page.getByRole('button', { name: /^Remove jose@example.com/ }).click();
  await page.getByText('the user may stay logged in').waitFor();
  await password(page);
  await page.getByRole('button', { name: /^Remove an alias/ }).click();
  await page.getByText('No aliases.').waitFor();
});

test('without scripts, each step works by forms', async (t) => {
  const { node, page } = await open(t, {}, { javaScriptEnabled: false });
  const other = await session(node, 'jose', DEVICES.curl);
  await page.getByPlaceholder('User name').fill('jose');
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByText('1 session ends.').waitFor();
  await page.getByRole('button', { name: /^Revoke: user/ }).click();
  await page.getByText('It holds everywhere').waitFor();
  assert.equal(await other.isLive(), false);
});

test('what comes from outside is shown as text, and leaves no page wider than the window', async (t) => {
  const { node, page } = await open(t, {}, { viewport: { width: 360, height: 740 } });
  const name = '<img src=x onerror=alert(1)>'.padEnd(80, 'w');
  await node.post('/register', { body: { username: name, password: PASSWORD } });
  await session(node, name, '<script>alert(1)</script> Mozilla/5.0');
  await session(node, name, `Mozilla/5.0 "><b>${'x'.repeat(8_000)}`);
  await fetch(`${node.url}/revocations`, { method: 'POST' });
  const hostile = encodeURIComponent(`"><script>alert(1)</script>\u202e${'y'.repeat(300)}`);
  const pages = SECTIONS.flatMap((section) => [section, `${section}?find=${hostile}&name=${hostile}&value=${hostile}&kind=subject&after=${hostile}&do=x`]);
  for (const section of pages) {
    await page.goto(`/console${section}`);
    assert.equal(await page.locator('main script, main img, main b').count(), 0, section);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `wider: ${section}`);
  }
  await page.goto('/console/token');
  await page.getByLabel('Token', { exact: true }).fill((await node.logIn('jose')).access);
  await page.getByRole('button', { name: 'Explain' }).click();
  await page.getByRole('heading', { name: 'Verdict' }).waitFor();
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'wider: the verdict');
  await page.goto('/console/users');
  await page.getByRole('link', { name }).click();
  assert.equal(await page.getByRole('heading', { level: 1 }).innerText(), name);
  await page.getByRole('link', { name: 'Log out everywhere' }).click();
  await page.getByText('The same without this page').click();
  await page.getByText(`adieu session end --user '${name}'`).waitFor();
});

for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
  test(`axe-core reports nothing, ${colorScheme}`, async (t) => {
    const { node, page } = await open(t, {}, { colorScheme, bypassCSP: true, reducedMotion: 'reduce' });
    await session(node, 'jose', DEVICES.iphone);
    node.addClient('idle', 'follow');
    const { access } = await node.logIn('jose');
    for (const section of [...SECTIONS, '/revocations?kind=everything', '/keys?rotate', '/clients?do=add', '/clients?do=remove&name=idle']) {
      await page.goto(`/console${section}`);
      for (const summary of await page.locator('summary').all()) await summary.click();
      await isClean(page);
    }
    await page.goto('/console/token');
    await page.getByLabel('Token', { exact: true }).fill(access);
    await page.getByRole('button', { name: 'Explain' }).click();
    await page.getByRole('heading', { name: 'Verdict' }).waitFor();
    await isClean(page);
    await page.goto('/console/users?name=jose');
    await page.getByRole('link', { name: 'jose' }).click();
    await isClean(page);
  });
}

test('the console is in the language of the browser', async (t) => {
  const node = await start(t, {}, ['ana']);
  node.command('user', 'promote', 'ana');
  const context = await person(t, node.url, { locale: 'de-AT' });
  const page = await context.newPage();
  await page.goto('/console');
  await page.getByLabel('Benutzername').fill('ana');
  await page.getByLabel('Passwort').fill(PASSWORD);
  await page.getByRole('button', { name: 'Anmelden' }).click();
  await page.getByRole('heading', { name: 'Überblick' }).waitFor();
});

test('each page is smaller than 60 KB without the plots, which are those of the package', async (t) => {
  const { page } = await open(t);
  for (const [asset, file] of [['uplot.js', 'uPlot.iife.min.js'], ['uplot.css', 'uPlot.min.css']]) {
    const [ours, theirs] = [`../../crates/adieu-server/src/pages/assets/${asset}`, require.resolve(`uplot/dist/${file}`)];
    assert.equal(readFileSync(new URL(ours, import.meta.url), 'utf8'), readFileSync(theirs, 'utf8'));
  }
  const total = await weight(page, /uplot/);
  t.diagnostic(`${total} bytes compressed`);
  assert.ok(total <= 60_000, `${total}`);
});
