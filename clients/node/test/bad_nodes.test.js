/** A node that answers wrongly: the client refuses, says why once, and keeps what it knows. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';

import { refusal } from '../src/connection.js';
import * as edge from '../src/edge.js';
import { Blocklist } from '../src/index.js';
import { writePage } from '../src/page-writer.js';
import { eventually } from './support/node.js';
import { serve } from './support/server.js';

/** @typedef {import('node:test').TestContext} TestContext */
/** @typedef {(response: import('node:http').ServerResponse, request: import('node:http').IncomingMessage) => void} Answer */

const exp = Math.floor(Date.now() / 1000) + 600;
const ENTRY = { issuer: 'adieu', kind: /** @type {const} */ ('token'), id: 'known', issuedUntil: 0, lapsesAt: exp + 120 };
const GOOD = writePage([ENTRY], { flags: 3 });
const BOMB = gzipSync(Buffer.alloc(64 * 1024 * 1024));

const CLIENTS = { Node: Blocklist, 'the edge': edge.Blocklist };

/**
 * Starts a node whose first answer is good, and which then answers as given. Returns a blocklist that has read the first one, and a
 * function that returns how often the node was asked.
 * @param {TestContext} t
 * @param {Answer} answer
 * @param {typeof CLIENTS[keyof typeof CLIENTS]} [Client]
 * @param {import('../src/index.js').Options} [options]
 */
async function followed(t, answer, Client = Blocklist, options = {}) {
  let asked = 0;
  const url = await serve(t, (request, response) => {
    asked += 1;
    if (asked === 1) response.end(GOOD);
    else answer(response, request);
  });
  /** @type {import('../src/index.js').Event[]} */
  const events = [];
  const blocklist = new Client({
    url,
    clientId: 'a',
    secret: 'b',
    maxStaleness: 8000,
    ...(Client === edge.Blocklist && { staleTimeout: 10_000 }),
    onEvent: (event) => void events.push(event),
    ...options,
  });
  t.after(() => blocklist.close());
  await blocklist.ready();
  return { blocklist, events, asked: () => asked };
}

/** @param {Blocklist | edge.Blocklist} blocklist */
function isStale(blocklist) {
  try {
    blocklist.isRevoked({ jti: 'another', exp });
    return false;
  } catch (error) {
    return /** @type {{ code?: string }} */ (error).code === 'ADIEU_STALE';
  }
}

/** The first bytes of an answer, then one byte after another. @param {Buffer} bytes @returns {Answer} */
const dripping = (bytes) => (response) => {
  response.writeHead(200, { 'content-length': bytes.length });
  let at = 0;
  const timer = setInterval(() => {
    at += 1;
    if (at < bytes.length) response.write(bytes.subarray(at - 1, at));
  }, 20);
  response.on('close', () => clearInterval(timer));
};

/** @type {Record<string, [Answer, string]>} */
const BAD = {
  'half a page': [(response) => response.end(GOOD.subarray(0, GOOD.length / 2)), 'ADIEU_ANSWER'],
  'an answer that is cut off': [
    (response) => {
      response.writeHead(200, { 'content-length': GOOD.length });
      response.write(GOOD.subarray(0, 20), () => response.destroy());
    },
    'ADIEU_UNREACHABLE',
  ],
  'more than the limit': [(response) => response.end(Buffer.alloc(17 * 1024 * 1024)), 'ADIEU_ANSWER'],
  'a compressed page': [
    (response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(BOMB),
    'ADIEU_ANSWER',
  ],
  'a redirect': [(response) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end(), 'ADIEU_UNAVAILABLE'],
  'a page of another kind': [(response) => response.end('<html>'), 'ADIEU_ANSWER'],
  'a page that is not the last and does not get on': [(response) => response.end(writePage([ENTRY], { flags: 0 })), 'ADIEU_ANSWER'],
  'a position before that of the request': [(response) => response.end(writePage([], { position: 0 })), 'ADIEU_ANSWER'],
  'another log, but not from its start': [(response) => response.end(writePage([ENTRY], { log: 'another' })), 'ADIEU_ANSWER'],
  'no answer at all': [() => {}, 'ADIEU_TIMEOUT'],
  'one byte after another': [dripping(Buffer.concat([GOOD, Buffer.alloc(100_000)])), 'ADIEU_TIMEOUT'],
};

for (const [client, Client] of Object.entries(CLIENTS)) for (const [what, [answer, code]] of Object.entries(BAD)) {
  test(`${what}, for ${client}: refused, reported once, and known revocations are kept`, async (t) => {
    const { blocklist, events, asked } = await followed(t, answer, Client);
    t.mock.method(Date, 'now', ((now) => () => now() + 8001)(Date.now));
    assert.ok(isStale(blocklist));
    await eventually(() => {
      // The client at the edge reads then.
      void blocklist.fresh();
      // Again, unless that takes seconds.
      return blocklist.status().failure && (code === 'ADIEU_TIMEOUT' || asked() > 3);
    }, 'it knows why');
    assert.equal(/** @type {{ code?: string } | undefined} */ (blocklist.status().failure)?.code, code);
    assert.equal(blocklist.isRevoked({ jti: 'known', exp }), true);
    const failing = events.filter(({ type }) => type === 'failing');
    assert.equal(failing.length, 1, failing.map(({ message }) => message).join('; '));
  });
}

/** Sends the head of an answer and its first byte, and nothing more. @param {import('node:http').ServerResponse} response */
const stall = (response) => {
  response.writeHead(200, { 'content-length': GOOD.length });
  response.write(GOOD.subarray(0, 1));
};

test('an answer that stalls is given up before the memory is stale', async (t) => {
  let answers = 0;
  const { blocklist } = await followed(t, (response) => {
    answers += 1;
    if (answers === 1) stall(response);
    else setTimeout(() => response.end(writePage([], { position: 1 })), 100);
  });
  const found = new Set();
  await eventually(() => found.add(isStale(blocklist)) && answers > 3, 'it is asked again');
  assert.deepEqual(found, new Set([false]));
});

for (const [client, Client] of Object.entries(CLIENTS)) {
  test(`an answer that stalls leaves time for another one, for ${client}`, async (t) => {
    let answers = 0;
    const { blocklist } = await followed(t, (response, request) => {
      // The read of the follower is held, as that of a process that was frozen.
      if (!request.url?.includes('wait=0')) return;
      answers += 1;
      if (answers === 1) stall(response);
      else response.end(writePage([], { position: 1 }));
    }, Client, { staleTimeout: 6000 });
    t.mock.method(Date, 'now', ((now) => () => now() + 8001)(Date.now));
    assert.equal(await blocklist.fresh(), true);
  });

  test(`a revocation whose answer stalls is sent again within its timeout, for ${client}`, async (t) => {
    let stalls = 1;
    let sent = 0;
    const url = await serve(t, (request, response) => {
      if (request.method !== 'POST') return void response.end(GOOD);
      sent += 1;
      if (sent <= stalls) stall(response);
      else response.end('{"message":"Revoked."}');
    });
    const blocklist = new Client({ url, clientId: 'a', secret: 'b', onEvent() {} });
    t.after(() => blocklist.close());
    assert.equal((await blocklist.revoke({ jti: 'x', exp }, { timeout: 4000 })).message, 'Revoked.');
    assert.equal(sent, 2);
    stalls = Infinity;
    const began = performance.now();
    await assert.rejects(blocklist.revoke({ jti: 'x', exp }, { timeout: 500 }), { code: 'ADIEU_TIMEOUT' });
    const took = performance.now() - began;
    assert.ok(took < 8000, `${took} ms`);
  });
}

test('the whole log may take longer when it is read for the first time', async (t) => {
  const url = await serve(t, (_, response) => {
    stall(response);
    setTimeout(() => response.end(GOOD.subarray(1)), 3000);
  });
  /** @type {import('../src/index.js').Event[]} */
  const events = [];
  const blocklist = new Blocklist({ url, clientId: 'a', secret: 'b', onEvent: (event) => void events.push(event) });
  t.after(() => blocklist.close());
  await blocklist.ready();
  assert.deepEqual(events.map(({ type }) => type), ['ready']);
});

test('only a status that says that the request or the client is wrong is permanent, as docs/feed.md has it', () => {
  const statuses = Array.from({ length: 500 }, (_, number) => 100 + number);
  const permanent = statuses.filter((status) => refusal({ status, headers: {}, body: Buffer.from('') }, 'http://node').isPermanent);
  assert.deepEqual(permanent, [400, 401, 403, 422]);
});

test('a node that a proxy reports as missing for a while is asked again at once', async (t) => {
  const statuses = [404, 405, 410, 421];
  let [reads, posts] = [0, 0];
  const url = await serve(t, (request, response) => {
    const status = statuses[request.method === 'POST' ? posts++ : reads++];
    if (status !== undefined) response.writeHead(status).end('no such service');
    else response.end(request.method === 'POST' ? '{"message":"Revoked."}' : GOOD);
  });
  /** @type {import('../src/index.js').Event[]} */
  const events = [];
  const blocklist = new Blocklist({ url, clientId: 'a', secret: 'b', onEvent: (event) => void events.push(event) });
  t.after(() => blocklist.close());
  await blocklist.ready();
  assert.deepEqual(events.map(({ type, level }) => `${type} ${level}`), ['failing warn', 'ready info']);
  assert.equal((await blocklist.revoke({ jti: 'x', exp })).message, 'Revoked.');
  assert.deepEqual([posts, reads >= 5], [5, true]);
});

for (const [client, Client] of Object.entries(CLIENTS)) {
  test(`an outage with changing errors, for ${client}: reported once, again if only an operator can end it, and anew in the next`, async (t) => {
    let statuses = [502, 503, 500];
    let times = 0;
    const { blocklist, events } = await followed(t, (response) => {
      times += 1;
      const status = statuses[times % statuses.length] ?? 200;
      response.writeHead(status).end(status === 200 ? writePage([], { position: 1 }) : '');
    }, Client);
    t.mock.method(Date, 'now', ((now) => () => now() + times * 8001)(Date.now));
    /** @param {number[]} found */
    const answered = async (...found) => {
      [statuses, times] = [found, 0];
      await eventually(async () => {
        await blocklist.fresh();
        return times > found.length;
      }, 'it was asked for each of them');
      return events.splice(0).filter(({ type }) => type === 'failing').map(({ level }) => level);
    };
    assert.deepEqual(await answered(502, 503, 500), ['warn']);
    assert.deepEqual(await answered(403, 503), ['error']);
    await answered(200);
    assert.deepEqual(await answered(503, 502), ['warn']);
  });
}

test('a log that went back is reported, and known revocations are kept', async (t) => {
  const { blocklist, events } = await followed(t, (response) => response.end(writePage([], { flags: 3, position: 0 })));
  await eventually(() => events.some(({ type }) => type === 'log_changed'), 'it is reported');
  assert.equal(blocklist.isRevoked({ jti: 'known', exp }), true);
  assert.equal(blocklist.isRevoked({ jti: 'another', exp }), false);
});
