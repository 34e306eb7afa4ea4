/**
 * Measures pages of the console, and then keeps ten consoles open until the end of standard input: `node tests/browser/open-consoles.mjs URL USERNAME
 * PASSWORD`. Prints lines of JSON: one for each page, one when the consoles are open, and one at the end.
 */

import { once } from 'node:events';

import { chromium } from 'playwright-core';

import { LAUNCH } from './chromium.mjs';

const CONSOLES = 10;
/** How often each page is loaded. */
const LOADS = 9;
const [url = '', username = '', password = ''] = process.argv.slice(2);
const print = (/** @type {unknown} */ line) => console.log(JSON.stringify(line));

const browser = await chromium.launch(LAUNCH);
const context = await browser.newContext({ locale: 'en-GB', baseURL: url });
const page = await context.newPage();
await page.goto('/console');
await page.getByLabel('User name').fill(username);
await page.getByLabel('Password', { exact: true }).fill(password);
await page.getByRole('button', { name: 'Log in' }).click();
await page.getByRole('heading', { name: 'Overview' }).waitFor();
await page.goto('/console/users?name=user-0001');
const user = `${await page.locator('tbody th a').first().getAttribute('href')}`;

for (const path of ['/console', '/console/users', '/console/users?sort=login&order=desc', user, '/console/revocations', '/console/sessions', '/account']) {
  /** @type {[number, number][]} */
  const paints = [];
  for (let load = 0; load < LOADS; load++) {
    await page.goto(path);
    paints.push(await page.evaluate(() => new Promise((/** @type {(times: [number, number]) => void} */ resolve) => {
      new PerformanceObserver((list) => {
        const [navigation] = /** @type {PerformanceNavigationTiming[]} */ (performance.getEntriesByType('navigation'));
        for (const { startTime } of list.getEntriesByName('first-contentful-paint')) resolve([navigation?.responseStart ?? 0, startTime]);
      }).observe({ type: 'paint', buffered: true });
    })));
  }
  const sorted = (/** @type {0 | 1} */ which) => paints.map((times) => times[which]).sort((one, other) => one - other);
  const [bytes, painted] = [sorted(0), sorted(1)];
  print({ path: path.replace(user, '/console/users/ID'), first_byte: bytes[LOADS >> 1], median: painted[LOADS >> 1], worst: painted.at(-1) });
}
await page.close();

let renewals = 0;
context.on('request', (request) => {
  if (new URL(request.url()).pathname === '/console') renewals++;
});
const consoles = await Promise.all(Array.from({ length: CONSOLES }, async () => {
  const opened = await context.newPage();
  await opened.goto('/console');
  return opened;
}));
// Half an hour without a key logs the administrator out.
setInterval(() => consoles[0]?.keyboard.press('Shift'), 60_000);
print({ consoles: CONSOLES });
process.stdin.resume();
await once(process.stdin, 'end');
print({ renewals });
await browser.close();
process.exit();
