import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';

import { Blocklist } from '../src/index.js';
import { Node, claimsOf, eventually, follow } from './support/node.js';

const claims = (others = {}) => {
  const now = Math.floor(Date.now() / 1000);
  const jti = /** @type {string} */ (randomUUID());
  return { jti, sub: randomUUID(), sid: randomUUID(), iat: now - 5, exp: now + 900, ...others };
};

test('a callback comes once when its token is revoked, in whatever way and wherever', async (t) => {
  const node = await Node.start(t);
  const { blocklist: here, events } = await follow(t, node);
  const { blocklist: elsewhere } = await follow(t, node);
  /** @type {string[]} */
  const called = [];
  const call = (/** @type {string} */ name) => () => void called.push(name);
  const [byId, byText, bySession, bySubject, byItself, rejected, untouched, cancelled] = Array.from({ length: 8 }, () => claims());
  assert.ok(byText && bySession && bySubject && byItself && rejected && cancelled);
  byText.jti = 'not a UUID';
  here.onRevoked(/** @type {object} */ (byId), () => {
    called.push('thrown');
    throw new Error('of the application');
  });
  here.onRevoked(rejected, async () => {
    called.push('rejected');
    throw new Error('of the application');
  });
  here.onRevoked(byText, call('text'));
  here.onRevoked(bySession, call('session'));
  here.onRevoked(bySubject, call('subject'));
  here.onRevoked(byItself, call('here'));
  here.onRevoked(/** @type {object} */ (untouched), call('untouched'));
  here.onRevoked(cancelled, call('cancelled'))();

  await elsewhere.revoke({ jti: cancelled.jti });
  await elsewhere.revoke({ jti: byId?.jti });
  await eventually(() => called.length === 1, 'it is called');
  await elsewhere.revoke({ jti: rejected.jti });
  await eventually(() => called.length === 2, 'it is called');
  await elsewhere.revoke({ jti: byText.jti });
  await eventually(() => called.length === 3, 'it is called');
  await elsewhere.revoke(claims({ sid: bySession.sid }));
  await eventually(() => called.length === 4, 'it is called');
  await elsewhere.revokeSubject(bySubject.sub);
  await eventually(() => called.length === 5, 'it is called');
  await here.revoke({ jti: byItself.jti });
  await eventually(() => called.length === 6, 'it is called');
  assert.deepEqual(called, ['thrown', 'rejected', 'text', 'session', 'subject', 'here']);
  const failed = events.filter(({ type }) => type === 'callback_failed');
  assert.deepEqual(failed.map(({ error }) => /** @type {Error} */ (error).message), ['of the application', 'of the application']);
  assert.equal(here.status().fresh, true);

  // A token that was issued after the cut-off of its subject.
  const later = claims({ sub: bySubject.sub, iat: Math.floor(Date.now() / 1000) });
  here.onRevoked(later, call('later'));
  // A token that was revoked before, also in the place of another.
  here.onRevoked(byItself, call('again'));
  await eventually(() => called.at(-1) === 'again', 'it is called');
  for (let number = 0; number < 20; number += 1) {
    const leave = here.onRevoked(claims(), call('never'));
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 20));
    here.onRevoked(byItself, call(`${number}`));
    leave();
    await eventually(() => called.at(-1) === `${number}`, 'it is called');
  }
  assert.equal(called.length, 6 + 1 + 20);
});

test('users who are logged in are called back when an administrator revokes everything, and when the user logs out', async (t) => {
  const node = await Node.start(t);
  const { blocklist } = await follow(t, node);
  const [jose, ana, admin] = [await node.logIn('jose'), await node.logIn('ana'), await node.logInAsAdmin('admin')];
  /** @type {string[]} */
  const called = [];
  blocklist.onRevoked(claimsOf(jose.access), () => called.push('jose'));
  blocklist.onRevoked(claimsOf(ana.access), () => called.push('ana'));
  await node.logOut(jose.refresh);
  await eventually(() => called.length === 1, 'it is called');
  assert.deepEqual(called, ['jose']);
  await node.post('/revocations', { token: admin.access, body: { everything: true } });
  await eventually(() => called.length === 2, 'it is called');
  assert.deepEqual(called, ['jose', 'ana']);
});

test('thousands of tokens of one session are all reported, while the event loop goes on', async (t) => {
  const node = await Node.start(t);
  const { blocklist } = await follow(t, node);
  const sid = randomUUID();
  const last = claims({ sid });
  let [called, turns] = [0, 0];
  /** @type {number | undefined} */
  let firstTurn;
  const watched = Array.from({ length: 20_000 }, () => claims({ sid }));
  for (const each of watched) blocklist.onRevoked(each, () => {
    called += 1;
    firstTurn ??= turns;
  });
  const cancel = blocklist.onRevoked(last, () => assert.fail('it was cancelled'));
  const turn = () => {
    turns += 1;
    if (called < watched.length) setImmediate(turn);
  };
  // So that they have been found good before.
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(called, 0);
  turn();
  cancel();
  await blocklist.revokeSession(sid);
  await eventually(() => called === watched.length, 'all are called');
  assert.ok(turns - Number(firstTurn) > 3, `${turns} turns`);
});

test('there is a limit of callbacks, and those that ended do not count', async (t) => {
  const node = await Node.start(t);
  const { blocklist } = await follow(t, node);
  const one = claims();
  const cancels = Array.from({ length: 99_998 }, () => blocklist.onRevoked(one, () => {}));
  cancels.push(blocklist.onStale(() => {}), blocklist.onFresh(() => {}));
  const tooMany = { code: 'ADIEU_USAGE', message: /100000 callbacks/ };
  assert.throws(() => blocklist.onRevoked(one, () => {}), tooMany);
  assert.throws(() => blocklist.onStale(() => {}), tooMany);
  for (const cancel of [...cancels.slice(-4), ...cancels.slice(-4)]) cancel();
  for (let number = 0; number < 4; number += 1) blocklist.onRevoked(one, () => {});
  assert.throws(() => blocklist.onFresh(() => {}), tooMany);
});

test('a token that can not be judged is rejected at once', async (t) => {
  const node = await Node.start(t);
  const { blocklist } = await follow(t, node);
  const call = () => assert.fail('never');
  assert.throws(() => blocklist.onRevoked(claims({ exp: undefined }), call), { name: 'InvalidClaimsError' });
  assert.throws(() => blocklist.onRevoked(claims({ jti: undefined }), call), { code: 'ADIEU_USAGE' });
  assert.throws(() => blocklist.onRevoked(claims(), /** @type {any} */ (undefined)), { code: 'ADIEU_USAGE' });
  const unready = new Blocklist({ url: 'http://127.0.0.1:1', clientId: 'a', secret: 'b', onEvent() {} });
  t.after(() => unready.close());
  assert.throws(() => unready.onRevoked(claims(), call), { code: 'ADIEU_STALE' });
});

test('callbacks come when the memory becomes stale, and fresh again, until they are ended', async (t) => {
  const node = await Node.start(t);
  const { blocklist, proxy } = await follow(t, node, { maxStaleness: 1500 });
  /** @type {string[]} */
  const called = [];
  const cancels = [
    blocklist.onStale(() => {
      called.push('stale');
      throw new Error('of the application');
    }),
    blocklist.onFresh(() => void called.push('fresh')),
  ];
  const more = [];
  for (let time = 1; time < 3; time += 1) {
    proxy.mode = 'cut';
    more.push('stale');
    await eventually(() => called.length === more.length, 'it is stale');
    proxy.mode = 'pass';
    more.push('fresh');
    await eventually(() => called.length === more.length, 'it is fresh');
    assert.deepEqual(called, more);
  }
  for (const cancel of cancels) cancel();
  /** @type {string[]} */
  const others = [];
  proxy.mode = 'cut';
  await eventually(() => !blocklist.status().fresh, 'it is stale');
  blocklist.onStale(() => void others.push('stale'));
  blocklist.onFresh(() => void others.push('fresh'));
  await eventually(() => others.length === 1, 'it was stale already');
  // One that comes later, and one that is ended before it is called.
  blocklist.onStale(() => void others.push('stale too'));
  blocklist.onStale(() => assert.fail('it was ended'))();
  await eventually(() => others.length === 2, 'it was stale already');
  await new Promise((resolve) => setTimeout(resolve, 200));
  proxy.mode = 'pass';
  await eventually(() => others.length === 3, 'it is fresh');
  // While it is fresh, nothing is called at once.
  blocklist.onStale(() => void others.push('stale again'));
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.deepEqual(others, ['stale', 'stale too', 'fresh']);
  assert.deepEqual(called, more);
});
