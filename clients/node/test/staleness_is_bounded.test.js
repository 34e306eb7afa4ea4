import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as forExpress from '../src/express-jwt.js';
import { Blocklist, StaleError } from '../src/index.js';
import { assertGood } from '../src/jose.js';
import { writePage } from '../src/page-writer.js';
import { Node, claimsOf, eventually, follow, send, startService, startToFollow, verdict } from './support/node.js';
import { serve } from './support/server.js';

const BOUND = 600;

/** What can go wrong between a service and its node, and what a proxy does for it. */
const FAULTS = {
  'cut off': (/** @type {import('./support/proxy.js').Proxy} */ proxy) => (proxy.mode = 'cut'),
  'behind a connection that says nothing any more': (/** @type {import('./support/proxy.js').Proxy} */ proxy) => (proxy.mode = 'freeze'),
  'behind a network with answers as late as the bound': (/** @type {import('./support/proxy.js').Proxy} */ proxy) => (proxy.delay = BOUND + 50),
};

for (const [fault, happens] of Object.entries(FAULTS)) {
  test(`a service that is ${fault} accepts nothing later than the bound, and goes on when that is over`, async (t) => {
    const node = await Node.start(t);
    const { blocklist, proxy, events } = await follow(t, node, { maxStaleness: BOUND });
    const [jose, ana] = [await node.logIn('jose'), await node.logIn('ana')];
    await eventually(() => verdict(blocklist, jose.access) === 'accepted', 'it follows');

    happens(proxy);
    await node.logOut(jose.access);
    const answered = performance.now();
    let accepted = answered;
    await eventually(() => {
      const asked = performance.now();
      if (verdict(blocklist, jose.access) !== 'accepted') return true;
      accepted = asked;
      return false;
    }, 'it is refused');
    assert.ok(accepted - answered <= BOUND, `accepted ${accepted - answered} ms after the logout`);
    await eventually(() => verdict(blocklist, ana.access) === 'stale', 'everybody is refused');
    assert.equal(blocklist.status().fresh, false);
    assert.ok(blocklist.status().staleRefusals > 0);
    const told = events.filter(({ type }) => type === 'stale').length;
    for (let time = 0; time < 10; time += 1) verdict(blocklist, ana.access);
    assert.ok(told > 0 && told === events.filter(({ type }) => type === 'stale').length, 'it is told, and not for each check');
    assert.throws(() => blocklist.isRevoked(claimsOf(ana.access)), (error) => {
      assert.ok(error instanceof StaleError);
      assert.deepEqual([error.status, error.headers], [503, { 'Retry-After': '1' }]);
      return true;
    });

    proxy.delay = 0;
    proxy.mode = 'cut';
    proxy.mode = 'pass';
    await eventually(() => verdict(blocklist, ana.access) === 'accepted', 'it knows enough again');
    assert.equal(verdict(blocklist, jose.access), 'revoked');
  });
}

test('a silent connection is closed before the memory is stale', async (t) => {
  const node = await Node.start(t, { max_staleness: '20s' });
  const { blocklist, proxy } = await follow(t, node, { maxStaleness: 8000 });
  const jose = await node.logIn('jose');
  proxy.mode = 'freeze';
  // New connections work, the old one is dead, as after a firewall dropped its state.
  proxy.passNew();
  const before = proxy.connections;
  const verdicts = new Set();
  await eventually(() => {
    verdicts.add(verdict(blocklist, jose.access));
    return proxy.connections > before && blocklist.status().staleness < 2000;
  }, 'it follows on another connection');
  assert.deepEqual(verdicts, new Set(['accepted']));
});

test('a slow network does not count as dead', async (t) => {
  const node = await Node.start(t, { max_staleness: '20s' });
  const { blocklist, proxy, events } = await follow(t, node, { maxStaleness: 3000 });
  const jose = await node.logIn('jose');
  proxy.delay = 1200;
  await node.logOut(jose.access);
  await eventually(() => verdict(blocklist, jose.access) === 'revoked', 'answers that take longer than expected are waited for');
  const { answers } = proxy;
  await eventually(() => proxy.answers >= answers + 6, 'more answers come');
  assert.ok(events.filter(({ type }) => type === 'failing').length <= 2, 'and soon none is given up any more');
});

test('responses that arrive later than the bound prove nothing', async (t) => {
  const node = await Node.start(t);
  const { blocklist, proxy } = await follow(t, node, { maxStaleness: BOUND });
  const jose = await node.logIn('jose');
  proxy.delay = BOUND + 50;
  await eventually(() => verdict(blocklist, jose.access) === 'stale', 'it is stale');
  const { answers } = proxy;
  let accepted = 0;
  await eventually(() => {
    if (verdict(blocklist, jose.access) === 'accepted') accepted += 1;
    return proxy.answers >= answers + 3;
  }, 'more answers come');
  assert.equal(accepted, 0);
});

test('accepting when stale must be configured, and known revocations still apply', async (t) => {
  const node = await Node.start(t);
  const { blocklist, proxy, events } = await follow(t, node, { maxStaleness: 200, stalePolicy: 'accept' });
  const [jose, ana] = [await node.logIn('jose'), await node.logIn('ana')];
  await blocklist.revoke(claimsOf(jose.access));
  proxy.mode = 'cut';
  await eventually(() => verdict(blocklist, ana.access) === 'accepted' && blocklist.status().staleAcceptances > 0, 'it is stale, and accepts');
  assert.equal(verdict(blocklist, jose.access), 'revoked');
  assert.match(events.find(({ type }) => type === 'stale')?.message ?? '', /accepted/);
});

test('nothing is accepted before the whole log has been read once, whatever stalePolicy is', async (t) => {
  const node = await Node.start(t);
  const jose = await node.logIn('jose');
  const { blocklist, proxy } = await startToFollow(t, node, { stalePolicy: 'accept' });
  proxy.mode = 'cut';
  assert.equal(verdict(blocklist, jose.access), 'stale');
  await assert.rejects(blocklist.ready({ timeout: 100 }), /not ready after 100 ms/);
  assert.equal(verdict(blocklist, jose.access), 'stale');
  proxy.mode = 'pass';
  await blocklist.ready();
  assert.equal(verdict(blocklist, jose.access), 'accepted');
});

test('a process that was paused is stale when it resumes', async (t) => {
  const node = await Node.start(t);
  const { proxy } = await startToFollow(t, node);
  const jose = await node.logIn('jose');
  const claims = claimsOf(jose.access);
  const { service, ask } = await startService(t, node, { url: proxy.url, maxStaleness: 2000 });
  await eventually(async () => (await ask(claims)) === 'accepted', 'it follows');

  send(service, 'SIGSTOP');
  await node.logOut(jose.access);
  const answered = performance.now();
  const verdict = ask(claims);
  await eventually(() => performance.now() - answered > 2100, 'longer than the bound has passed');
  proxy.mode = 'freeze';
  send(service, 'SIGCONT');
  assert.notEqual(await verdict, 'accepted');
});

test('a process that is frozen between requests reads within the request, if it may', async (t) => {
  const node = await Node.start(t);
  const { blocklist, proxy } = await follow(t, node);
  const exp = Math.floor(Date.now() / 1000) + 600;
  const bound = 500;
  const { service, ask } = await startService(t, node, { url: proxy.url, maxStaleness: bound, staleTimeout: 30_000 });
  for (let time = 0; time < 8; time += 1) {
    send(service, 'SIGSTOP');
    const jti = `revoked-${time}`;
    await blocklist.revoke({ jti, exp });
    const stopped = performance.now();
    await eventually(() => performance.now() - stopped > 2 * bound, 'longer than the bound has passed');
    const verdicts = [ask({ jti: `other-${time}`, exp }), ask({ jti, exp })];
    send(service, 'SIGCONT');
    assert.deepEqual(await Promise.all(verdicts), ['accepted', 'revoked'], `time ${time}`);
  }
});

test('waiting for news ends after staleTimeout, and the token is not accepted', async (t) => {
  const node = await Node.start(t);
  const { blocklist, proxy } = await follow(t, node, { maxStaleness: 200, staleTimeout: 300 });
  await eventually(() => blocklist.fresh(), 'it follows');
  const claims = { jti: 'a', exp: Math.floor(Date.now() / 1000) + 600 };
  const isRevoked = forExpress.isRevoked(blocklist);
  for (const mode of /** @type {const} */ (['freeze', 'cut'])) {
    proxy.mode = mode;
    await eventually(() => !blocklist.status().fresh, 'it is stale');
    assert.equal(await blocklist.fresh(), false);
    assert.throws(() => blocklist.isRevoked(claims), StaleError);
    await assert.rejects(isRevoked({}, { payload: claims }), StaleError);
    proxy.mode = 'cut';
    proxy.mode = 'pass';
    await eventually(async () => (await isRevoked({}, { payload: claims })) === false, 'it reads again');
    await eventually(() => blocklist.status().failure === undefined, 'it follows again');
  }
  blocklist.close();
  await eventually(() => !blocklist.status().fresh, 'it is stale');
  assert.equal(await blocklist.fresh(), false);
});

test('with jose, news are waited for before the check', async (t) => {
  const url = await serve(t, (request, response) => {
    // Those that the follower waits for never come.
    if (request.url?.includes('wait=0')) response.end(writePage([], { flags: 3 }));
  });
  const blocklist = new Blocklist({ url, clientId: 'a', secret: 'b', maxStaleness: 8000, staleTimeout: 60_000 });
  t.after(() => blocklist.close());
  await blocklist.ready();
  const verified = { protectedHeader: {}, payload: { jti: 'a', exp: Math.floor(Date.now() / 1000) + 600 } };
  t.mock.method(Date, 'now', ((now) => () => now() + 10_000)(Date.now));
  assert.throws(() => assertGood(blocklist, verified), StaleError);
  assert.equal(await blocklist.fresh(), true);
  assertGood(blocklist, verified);
});

test('concurrent requests that find old news share one read', async (t) => {
  const page = writePage([], { flags: 3 });
  // The reads of the follower are held, as those of a process that was frozen.
  /** @type {(() => void)[]} */
  const held = [];
  let reads = 0;
  const url = await serve(t, (request, response) => {
    const isWaiting = !request.url?.includes('wait=0');
    reads += isWaiting ? 0 : 1;
    if (isWaiting) held.push(() => response.destroy());
    else setTimeout(() => response.end(page), 20);
  });
  const blocklist = new Blocklist({ url, clientId: 'a', secret: 'b', maxStaleness: 8000, staleTimeout: 60_000 });
  t.after(() => blocklist.close());
  await blocklist.ready();
  reads = 0;
  await eventually(() => held.length > 0, 'it follows');
  t.mock.method(Date, 'now', ((now) => () => now() + 10_000)(Date.now));
  assert.deepEqual(await Promise.all(Array.from({ length: 50 }, () => blocklist.fresh())), Array(50).fill(true));
  assert.equal(reads, 1);
});
