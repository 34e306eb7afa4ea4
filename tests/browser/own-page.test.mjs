/** The example of a page of an application's own, behind a proxy that sends `/account` to a real node. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { after, test } from 'node:test';

import { serve } from '../../clients/node/test/support/server.js';
import { DEVICES, PASSWORD, close, person, session, start } from './support.mjs';

const PAGE = readFileSync(new URL('../../examples/own-page/index.html', import.meta.url), 'utf8');

after(close);

test('the example is short', () => assert.ok(PAGE.split('\n').length <= 150));

test('a page of an application logs in, lists, ends sessions and sees the end of its own', async (t) => {
  const node = await start(t);
  const other = await session(node, 'jose', DEVICES.curl);
  const url = await serve(t, (request, response) => {
    if (!request.url?.startsWith('/account')) return void response.setHeader('content-type', 'text/html').end(PAGE);
    const { method, headers } = request;
    const forwarded = http.request(`${node.url}${request.url}`, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      response.flushHeaders();
      answer.pipe(response);
    });
    forwarded.on('error', () => response.destroy());
    response.on('close', () => forwarded.destroy());
    request.pipe(forwarded);
  });
  const context = await person(t, url, { errors: /status of 401/ });
  const page = await context.newPage();
  await page.goto('/');
  await page.getByLabel('User name').fill('jose');
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByText('Hello, jose.').waitFor();
  await page.locator('li', { hasText: 'curl' }).getByRole('button').click();
  await page.getByText('That session has ended.').waitFor();
  assert.equal(await other.isLive(), false);
  // The access token is gone: the page refreshes.
  await context.clearCookies({ name: '__Host-access_token' });
  await page.getByRole('button', { name: 'Log out everywhere else' }).click();
  await page.getByText('You are logged out everywhere else.').waitFor();
  const tab = await context.newPage();
  await tab.goto('/');
  await tab.getByRole('button', { name: 'Log out', exact: true }).click();
  await tab.getByText('You are logged out.').waitFor();
  await page.getByText('Your session has ended.').waitFor();
  assert.ok(await tab.getByText('You are logged out.').isVisible(), 'its own logout is no news to this tab');
  assert.deepEqual(await context.cookies(), []);
});
