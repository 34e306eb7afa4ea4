/** Revoking everything of a subject or a claim resolves once a token that is issued then is good, whatever state the client is in. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as edge from '../src/edge.js';
import { Connection } from '../src/connection.js';
import { transportFor } from '../src/exchange.js';
import { Follower } from '../src/follower.js';
import { Freshness } from '../src/freshness.js';
import { Blocklist } from '../src/index.js';
import { writePage } from '../src/page-writer.js';
import { Revocations } from '../src/revocations.js';
import { serve } from './support/server.js';

/** @typedef {import('node:test').TestContext} TestContext */
/** @typedef {import('../src/page.js').Entry} Entry */

const CLIENTS = { Node: Blocklist, 'the edge': edge.Blocklist };

/** How many seconds the clock of the node is ahead. */
const AHEAD = 2;

/**
 * Starts a node that may answer a read with a status other than 200, and returns a client of it.
 * @param {TestContext} t
 * @param {typeof CLIENTS[keyof typeof CLIENTS]} Client
 * @param {{ read?: (time: number) => number | undefined, age?: number }} [options] `read` is given how often the log was read
 */
async function clientOf(t, Client, { read = () => undefined, age = 0 } = {}) {
  /** @type {Entry[]} */
  const entries = [];
  /** The positions from which the log was read. @type {number[]} */
  const reads = [];
  const url = await serve(t, async (request, response) => {
    let content = '';
    for await (const chunk of request) content += chunk;
    if (request.method === 'POST') {
      const { revocations, subject, claim } = JSON.parse(content);
      const issuedUntil = Math.floor(Date.now() / 1000) + AHEAD;
      const of = { issuer: 'adieu', issuedUntil, lapsesAt: issuedUntil + 900 };
      if (revocations !== undefined) entries.push({ ...of, kind: 'token', id: revocations[0].token_id });
      else if (claim === undefined) entries.push({ ...of, kind: 'subject', id: subject });
      else entries.push({ ...of, kind: 'claim', id: `${claim.name}\x1f${claim.value}` });
      response.end('{"message":"Revoked."}');
      return;
    }
    const after = new URL(request.url ?? '', url).searchParams.get('after');
    const from = Number(after?.split('.')[1] ?? 0);
    reads.push(from);
    const status = read(reads.length);
    if (status !== undefined) response.writeHead(status).end();
    else {
      const flags = after === null ? 3 : 1;
      response.end(writePage(entries.slice(from), { flags, age, position: entries.length }));
    }
  });
  const blocklist = new Client({ url, clientId: 'a', secret: 'b', onEvent() {} });
  t.after(() => blocklist.close());
  return { blocklist, entries, reads };
}

/** Returns by how many milliseconds the cut-off was over when the work resolved. @param {Entry[]} entries @param {Promise<unknown>} work */
async function overWhenResolved(entries, work) {
  await work;
  return Date.now() - (Number(entries.at(-1)?.issuedUntil) + 1) * 1000;
}

for (const [name, Client] of Object.entries(CLIENTS)) {
  test(`${name}: before the log has been read once`, async (t) => {
    // The first read in the background fails.
    const { blocklist, entries, reads } = await clientOf(t, Client, { read: (time) => (Client === Blocklist && time === 1 ? 503 : undefined) });
    const results = await Promise.all([
      overWhenResolved(entries, blocklist.revokeSubject('jose')),
      overWhenResolved(entries, blocklist.revokeClaim('tenant', 'acme')),
    ]);
    for (const over of results) assert.ok(over >= 0, `${-over} ms too early`);
    if (Client === edge.Blocklist) {
      assert.equal(blocklist.status().ready, true);
      const asked = reads.length;
      await blocklist.revokeSubject('ana');
      assert.ok(reads.slice(asked).every((from) => from > 0), 'it reads on, and not from the start');
    }
  });

  test(`${name}: although reading fails at first`, async (t) => {
    const { blocklist, entries } = await clientOf(t, Client, { read: (time) => (time > 1 && time < 8 ? 503 : undefined) });
    await blocklist.ready();
    const over = await overWhenResolved(entries, blocklist.revokeSubject('jose'));
    assert.ok(over >= 0, `${-over} ms too early`);
  });

  test(`${name}: if it cannot be read in time, that is an error`, async (t) => {
    const { blocklist } = await clientOf(t, Client, { read: (time) => (time > 1 ? 503 : undefined) });
    await blocklist.ready();
    // An older cut-off is not mistaken for it.
    await assert.rejects(blocklist.revokeSubject('jose', { timeout: 300 }), { code: 'ADIEU_UNAVAILABLE' });
    await assert.rejects(blocklist.revokeClaim('tenant', 'acme', { timeout: 300 }), { code: 'ADIEU_UNAVAILABLE' });
  });

  test(`${name}: a node that has had no news itself is no proof`, async (t) => {
    const { blocklist } = await clientOf(t, Client, { age: 60_000 });
    await assert.rejects(blocklist.revokeSubject('jose', { timeout: 300 }), { code: 'ADIEU_UNAVAILABLE' });
  });

  test(`${name}: a client that may only revoke waits by its own clock`, { timeout: 60_000 }, async (t) => {
    const { blocklist, entries } = await clientOf(t, Client, { read: () => 403 });
    const over = await overWhenResolved(entries, blocklist.revokeSubject('jose'));
    assert.ok(over >= 0, `${-over} ms too early`);
  });
}

test('the edge: a revocation leaves nothing that waits for a read that nobody will make', async (t) => {
  const { blocklist } = await clientOf(t, edge.Blocklist);
  await blocklist.revoke({ jti: 'x' });
  assert.equal(blocklist.status().ready, false);
  await blocklist.ready();
  assert.equal(blocklist.isRevoked({ jti: 'x', exp: Math.floor(Date.now() / 1000) + 600 }), true);

  const connection = new Connection('http://127.0.0.1:1', 'a', 'b', (url) => transportFor(url, {}));
  t.after(() => connection.close());
  const settings = { maxStaleness: 2000, stalePolicy: /** @type {const} */ ('reject'), issuer: undefined };
  const follower = new Follower(connection, new Revocations(), new Freshness(), settings, () => {});
  await assert.rejects(follower.ready(), { code: 'ADIEU_UNREACHABLE' });
});

test('a revocation while the first read is on its way is known when the log has been read', async (t) => {
  /** @type {() => void} */
  let answer = () => {};
  const asked = new Promise((resolve) => {
    answer = () => resolve(undefined);
  });
  /** @type {import('node:http').ServerResponse | undefined} */
  let first;
  const url = await serve(t, (request, response) => {
    if (request.method === 'POST') response.end('{"message":"Revoked."}');
    else if (first === undefined) {
      first = response;
      answer();
    } else response.end(writePage([], { flags: 1, position: 0 }));
  });
  const blocklist = new edge.Blocklist({ url, clientId: 'a', secret: 'b', onEvent() {} });
  t.after(() => blocklist.close());
  const fresh = blocklist.fresh();
  await asked;
  await blocklist.revoke({ jti: 'x' });
  // It was sent before the revocation.
  first?.end(writePage([], { flags: 3, position: 0 }));
  assert.equal(await fresh, true);
  assert.equal(blocklist.isRevoked({ jti: 'x', exp: Math.floor(Date.now() / 1000) + 600 }), true);
});
