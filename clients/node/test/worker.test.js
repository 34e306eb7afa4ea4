/** The example examples/worker, in the runtime of Cloudflare's workers. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Node, eventually } from './support/node.js';
import { Proxy } from './support/proxy.js';
import { startWorker } from './support/worker.js';

const EXAMPLE = fileURLToPath(new URL('../examples/worker/worker.js', import.meta.url));

/** The bound of the example, in milliseconds. */
const BOUND = 2000;

/** @param {import('node:test').TestContext} t */
async function start(t) {
  const node = await Node.start(t);
  const proxy = await Proxy.start(t, node.port);
  const url = await startWorker(t, EXAMPLE, { ADIEU_URL: proxy.url, ADIEU_CLIENT: 'edge', ADIEU_SECRET: node.addClient('edge') });
  const ask = async (/** @type {string | undefined} */ token, path = '/', method = 'GET') => {
    const answer = await fetch(url + path, { method, ...(token && { headers: { authorization: `Bearer ${token}` } }) });
    await answer.text();
    return answer.status;
  };
  return { node, proxy, ask };
}

test('a worker rejects a token within the bound after its logout, and nothing else', { timeout: 60_000 }, async (t) => {
  const { node, ask } = await start(t);
  const [jose, ana] = [await node.logIn('jose'), await node.logIn('ana')];
  assert.deepEqual(await Promise.all([ask(jose.access), ask(ana.access)]), [200, 200]);
  assert.deepEqual(await Promise.all([ask(undefined), ask(`${ana.access}x`), ask(ana.refresh)]), [401, 401, 401]);

  await node.logOut(jose.access);
  const answered = performance.now();
  let accepted = answered;
  await eventually(async () => {
    const asked = performance.now();
    const status = await ask(jose.access);
    if (status === 200) accepted = asked;
    return status === 401;
  }, 'it is rejected');
  assert.ok(accepted - answered <= BOUND, `accepted ${accepted - answered} ms after the logout`);
  assert.equal(await ask(ana.access), 200);

  // By the worker itself: at once.
  assert.equal(await ask(ana.access, '/logout', 'POST'), 200);
  assert.equal(await ask(ana.access), 401);
});

test('concurrent requests share one read, and a worker that cannot read rejects in time until it can', { timeout: 60_000 }, async (t) => {
  const { node, proxy, ask } = await start(t);
  const { access } = await node.logIn('jose');
  assert.equal(await ask(access), 200);
  await new Promise((resolve) => setTimeout(resolve, BOUND + 100));
  const { answers } = proxy;
  const statuses = await Promise.all(Array.from({ length: 40 }, () => ask(access)));
  assert.deepEqual(new Set(statuses), new Set([200]));
  assert.equal(proxy.answers, answers + 1);

  for (const mode of /** @type {const} */ (['freeze', 'cut'])) {
    proxy.mode = mode;
    await eventually(async () => (await ask(access)) === 503, 'it is stale');
    const asked = performance.now();
    const rejected = await Promise.all(Array.from({ length: 40 }, () => ask(access)));
    assert.deepEqual(new Set(rejected), new Set([503]));
    assert.ok(performance.now() - asked < 5000, `${performance.now() - asked} ms`);
    proxy.mode = 'cut';
    proxy.mode = 'pass';
    await eventually(async () => (await ask(access)) === 200, 'it can read again');
  }

  await node.kill();
  await eventually(async () => (await ask(access)) === 503, 'the node is gone');
  assert.equal(await ask(access, '/logout', 'POST'), 503);
});
