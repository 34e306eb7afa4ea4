import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Node, claimsOf, eventually, follow, verdict } from './support/node.js';

test('a revocation that waits for everywhere is known to every live service when it resolves', async (t) => {
  const node = await Node.start(t, { max_staleness: '4s' });
  const services = [];
  for (let number = 0; number < 3; number += 1) services.push(await follow(t, node, { maxStaleness: 4000 }));
  const [first, ...others] = services.map(({ blocklist }) => blocklist);
  const jose = await node.logIn('jose');

  const { everywhere } = (await first?.revoke(claimsOf(jose.access), { everywhere: true })) ?? {};
  assert.deepEqual(others.map((other) => verdict(other, jose.access)), ['revoked', 'revoked']);
  assert.equal(everywhere?.acknowledged, 3);
  assert.deepEqual([everywhere?.waited_out, everywhere?.unbounded], [0, 0]);
});

test('an unreachable service is waited out, and rejects by then', async (t) => {
  const node = await Node.start(t, { max_staleness: '4s' });
  const [here, lost] = [await follow(t, node, { maxStaleness: 4000 }), await follow(t, node, { maxStaleness: 4000 })];
  const jose = await node.logIn('jose');
  await eventually(() => verdict(lost.blocklist, jose.access) === 'accepted', 'it follows');
  lost.proxy.mode = 'freeze';

  const { everywhere } = await here.blocklist.revoke(claimsOf(jose.access), { everywhere: true });
  assert.notEqual(verdict(lost.blocklist, jose.access), 'accepted');
  assert.deepEqual([everywhere?.acknowledged, everywhere?.waited_out], [1, 1]);
});

test('a service that accepts when stale is counted as unbounded', async (t) => {
  const node = await Node.start(t, { max_staleness: '4s' });
  const here = await follow(t, node, { maxStaleness: 4000 });
  const lax = await follow(t, node, { maxStaleness: 4000, stalePolicy: 'accept' });
  const jose = await node.logIn('jose');
  lax.proxy.mode = 'freeze';
  const { everywhere } = await here.blocklist.revoke(claimsOf(jose.access), { everywhere: true });
  assert.deepEqual([everywhere?.acknowledged, everywhere?.unbounded], [1, 1]);
});
