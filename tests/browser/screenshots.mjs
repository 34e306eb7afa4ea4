/**
 * Writes screenshots of the account page and the console: `node tests/browser/screenshots.mjs FOLDER`, as WebP. With `png` as another argument, as PNG.
 * Those of a few pages are also in German. Further arguments choose some of them, such as `360-dark` and `1440-light`.
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { startService } from '../../clients/node/test/support/node.js';
import { DEVICES, PASSWORD, close, logIn, person, session, start } from './support.mjs';

const [folder = 'target/screenshots', format = 'webp', ...chosen] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
/** @type {(() => unknown)[]} */
const afterwards = [];
const t = /** @type {any} */ ({ after: (/** @type {() => unknown} */ action) => afterwards.push(action) });

try {
  const node = await start(t, { max_staleness: '10s', revocable_claims: 'tenant', audit_log: join(folder, 'audit.jsonl') }, ['jose', 'ana', 'maria', 'paul']);
  node.command('user', 'promote', 'ana');
  const [, { service: billing }] = [await startService(t, node, { url: node.url, maxStaleness: 10_000 }), await startService(t, node, { url: node.url, maxStaleness: 10_000 })];
  for (const [width, scheme] of /** @type {const} */ ([[360, 'dark'], [360, 'light'], [768, 'light'], [768, 'dark'], [1440, 'light'], [1440, 'dark']])) {
    const name = `${width}-${scheme}`;
    if (chosen.length > 0 && !chosen.includes(name)) continue;
    await session(node, 'jose', DEVICES.iphone, '198.51.100.20');
    await session(node, 'jose', DEVICES.android, '203.0.113.77');
    await session(node, 'jose', DEVICES.curl, '192.0.2.77');
    const headers = { 'x-forwarded-for': '203.0.113.9' };
    const context = await person(t, node.url, {
      viewport: { width, height: width < 700 ? 740 : 640 }, colorScheme: scheme, userAgent: DEVICES.firefox, extraHTTPHeaders: headers,
      deviceScaleFactor: 2, errors: /./,
    });
    // Of a long list, the rest is more of the same.
    const shot = async (/** @type {import('playwright-core').Page} */ page, /** @type {string} */ what, tallest = width < 700 ? 2_400 : 1_000) => {
      const protocol = await page.context().newCDPSession(page);
      const { cssContentSize: content } = await protocol.send('Page.getLayoutMetrics');
      const height = await page.evaluate(() => document.querySelector('main')?.getBoundingClientRect().bottom ?? 0);
      const clip = { x: 0, y: 0, width: content.width, height: Math.min(height, tallest), scale: 1 };
      const options = { format: /** @type {any} */ (format), clip, captureBeyondViewport: true, ...(format === 'webp' && { quality: 80 }) };
      const { data } = await protocol.send('Page.captureScreenshot', options);
      writeFileSync(join(folder, `${what}-${name}.${format}`), Buffer.from(data, 'base64'));
    };
    const wrong = await logIn(context, 'jose', 'wrong');
    await wrong.getByRole('alert').waitFor();
    await shot(wrong, 'login');
    await wrong.close();
    const page = await logIn(context, 'jose');
    await page.getByRole('heading', { name: 'Where you are logged in' }).waitFor();
    await shot(page, 'account');
    await page.getByRole('button', { name: 'Log out Chrome on Android' }).first().click();
    await page.getByText('ended just now').waitFor();
    await page.mouse.move(0, 0);
    await shot(page, 'ended');
    await page.locator('summary').first().click();
    await shot(page, 'password');
    await context.setOffline(true);
    await page.getByText('You are offline.').waitFor();
    await shot(page, 'offline');
    await context.setOffline(false);
    await page.getByRole('button', { name: 'Log out everywhere else' }).click();
    await page.getByText('All other sessions have been ended.').waitFor();
    await page.reload();
    await shot(page, 'alone');
    await page.getByRole('button', { name: 'Log out', exact: true }).click();
    await page.getByText('You have logged out.').waitFor();

    const whole = (/** @type {string} */ what) => shot(page, `console-${what}`);
    await page.goto('/console');
    await page.getByLabel('User name').fill('ana');
    await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('heading', { name: 'Overview' }).waitFor();
    for (let second = 0; second < 30; second++) {
      if (second === 15) billing.kill('SIGSTOP');
      for (let logins = second % 7; logins > 0; logins--) {
        const { access } = await node.logIn('paul');
        await node.logOut(access);
        await fetch(`${node.url}/verify`, { headers: { authorization: `Bearer ${access}` } });
      }
      await new Promise((resolve) => setTimeout(resolve, 900));
    }
    await whole('overview');
    billing.kill('SIGCONT');
    for (const section of ['users', 'sessions', 'clients', 'aliases', 'keys', 'deliveries', 'audit']) {
      await page.goto(`/console/${section}`);
      await whole(section);
    }
    await page.goto('/console/clients?do=add&name=<b>&can=follow&can=revoke&quota=500+per+1m&go=1');
    await whole('client-form');
    await page.goto('/console/clients?do=add&name=shop&can=follow&can=revoke&quota=500+per+1m&go=1');
    await page.getByText('The same without this page').click();
    await whole('client');
    await page.goto('/console/revocations?kind=subject&value=00u1');
    billing.kill('SIGSTOP');
    await page.getByRole('button', { name: /^Revoke: subject/ }).click();
    await page.getByText('Confirmed: 2/3').waitFor();
    await shot(page, 'console-progress', 560);
    billing.kill('SIGCONT');
    await page.getByText('It holds everywhere').waitFor();
    await page.goto('/console/revocations?kind=claim&value=tenant%3Dacme');
    await page.getByText('The same without this page').click();
    await whole('revocations');
    await page.goto('/console/token');
    await page.getByLabel('Token', { exact: true }).fill((await node.logIn('jose')).access);
    await page.getByRole('button', { name: 'Explain' }).click();
    await page.getByRole('heading', { name: 'Verdict' }).waitFor();
    await whole('token');
    await page.goto('/console/users?name=jose');
    await page.getByRole('link', { name: 'jose' }).click();
    await page.getByRole('link', { name: 'Disable' }).click();
    await page.getByRole('heading', { name: 'Disable' }).waitFor();
    await whole('user');
    const german = await person(t, node.url, {
      viewport: { width, height: width < 700 ? 740 : 640 }, colorScheme: scheme, deviceScaleFactor: 2, errors: /./, locale: 'de-AT',
      storageState: await context.storageState(),
    });
    const other = await german.newPage();
    for (const section of ['', '/clients?do=add', '/deliveries', '/revocations?kind=everything']) {
      await other.goto(`/console${section}`);
      await shot(other, `german${section.replace(/\?.*/, '').replace('/', '-')}`);
    }
    await german.close();
    await context.close();
  }
} finally {
  await close();
  for (const action of afterwards) await action();
}
