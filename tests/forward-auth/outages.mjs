/** The questions about outages: asked in this order of a node and a proxy of their own. */

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';

import { eventually } from '../../clients/node/test/support/node.js';
import { callEach } from './grpc.mjs';
import { h2, http1, webSocket } from './wire.mjs';

/** How long a client waits for a verdict, on a busy machine too. */
const LIMIT = 10_000;

/**
 * `relay` is between the proxy `slow`, which has all lines that its example has as comments, and the node.
 * @typedef {{
 *   node: import('../../clients/node/test/support/node.js').Node, service: import('./service.mjs').Service,
 *   port: number, slow: { port: number, logged: () => string }, relay: import('../../clients/node/test/support/proxy.js').Proxy, token: string,
 * }} Place
 */

/**
 * A request must be answered with 503, without a verdict.
 * @param {Place} place @param {number} [port] @param {string} [none] what a request without a token carries
 */
async function assertUnavailable({ service, port: usual, token }, port = usual, none = undefined) {
  service.seen.length = 0;
  const begun = performance.now();
  const called = callEach(port, { token, count: 1 });
  /** @type {[string, Promise<import('./wire.mjs').Answer>][]} */
  const requests = [
    ['HTTP/1.1', http1(port, '/items', { token })],
    ['HTTP/2', h2(port, '/items', { token })],
    ['with a body', http1(port, '/items', { token, method: 'POST', body: 'x'.repeat(100_000) })],
    ['another requirement', http1(port, '/admin', { token })],
    ['no token', http1(port, '/items', { token: none })],
  ];
  await Promise.all(requests.map(async ([why, answered]) => {
    let timer;
    const late = new Promise((resolve) => (timer = setTimeout(resolve, LIMIT)));
    const answer = /** @type {import('./wire.mjs').Answer | undefined} */ (await Promise.race([answered, late]));
    clearTimeout(timer);
    assert.ok(answer, `${why}: no response within ${LIMIT} ms`);
    assert.equal(answer.status, 503, `${why}: ${answer.body}`);
    assert.match(answer.headers['retry-after'] ?? 'none', /^\d+$/, why);
  }));
  // As 503 reads to a client of gRPC. It has the same time, but for its connection.
  assert.deepEqual(await called, { unary: 'UNAVAILABLE' });
  assert.ok(performance.now() - begun < LIMIT + 500, 'gRPC');
  assert.equal(service.seen.length, 0, 'nothing passes');
  assert.equal((await http1(port, '/public/x')).status, 200, 'public routes need no verdict');
}

/** @type {Record<string, (place: Place) => Promise<void>>} */
export const OUTAGES = {
  slow: async (place) => {
    const { slow, token } = place;
    assert.equal((await http1(slow.port, '/items', { token })).status, 200);
    place.relay.delay = 2 * LIMIT;
    await assertUnavailable(place, slow.port);
    // Proxies log errors, too.
    const lines = [`Sec-WebSocket-Protocol: access_token.${token}`];
    assert.equal((await webSocket(slow.port, `/items?access_token=${token}`, { lines })).status, 503);
    await eventually(() => /\b503\b/.test(slow.logged()), 'the access log');
    assert.deepEqual(slow.logged().split('\n').filter((line) => line.includes(token)), []);
  },
  frozen: async (place) => {
    const { node, port, token } = place;
    assert.equal((await http1(port, '/items', { token })).status, 200);
    process.kill(node.pid, 'SIGSTOP');
    try {
      const threads = `/proc/${node.pid}/task`;
      await eventually(() => readdirSync(threads).every((thread) => /\) T /.test(readFileSync(`${threads}/${thread}/stat`, 'utf8'))), 'it is frozen');
      await assertUnavailable(place);
    } finally {
      process.kill(node.pid, 'SIGCONT');
    }
    await eventually(async () => (await http1(port, '/items', { token })).status === 200, 'requests pass again');
  },
  stopped: async (place) => {
    assert.equal((await http1(place.port, '/items', { token: place.token })).status, 200);
    await place.node.kill();
    await assertUnavailable(place);
  },
  restarted: async ({ node, port, service, token }) => {
    await node.restart();
    await eventually(async () => (await http1(port, '/items', { token })).status === 200, 'requests pass again');
    // Connections that were kept when the node restarts are of no use.
    for (let at = 0; at < 5; at += 1) {
      await node.restart();
      const { status } = await http1(port, '/items', { token });
      assert.ok(status === 200 || status === 503, `${status}`);
    }
    service.seen.length = 0;
    const other = (await node.logIn('jose')).access;
    await node.logOut(other);
    assert.equal((await http1(port, '/items', { token: other })).status, 401);
    assert.equal(service.seen.length, 0);
  },
  'answering 503': async (place) => {
    const { node, port, token } = place;
    node.breakLog();
    await eventually(async () => (await http1(node.port, '/verify', { token })).status === 503, 'it is stale');
    // Adieu itself answers 401 if there is no token.
    await assertUnavailable(place, port, token);
  },
};
