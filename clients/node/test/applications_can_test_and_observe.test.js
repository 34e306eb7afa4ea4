/** What applications build on: a blocklist in memory, a real server for their tests, a readiness probe and figures. */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import { delimiter, dirname } from 'node:path';
import { test } from 'node:test';

import { AggregationTemporality, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import express from 'express';
import fastify from 'fastify';
import { Registry } from 'prom-client';

import * as forExpress from '../src/express-jwt.js';
import { Blocklist, readiness } from '../src/index.js';
import { MemoryNode } from '../src/memory-node.js';
import { observe } from '../src/opentelemetry.js';
import { Page } from '../src/page.js';
import { writePage } from '../src/page-writer.js';
import { collect } from '../src/prometheus.js';
import { findServer, startServer } from '../src/testing.js';
import { BINARY, Node, eventually, follow, startToFollow } from './support/node.js';
import { serve } from './support/server.js';

const claims = (others = {}) => {
  const now = Math.floor(Date.now() / 1000);
  return { jti: randomUUID(), sub: randomUUID(), sid: randomUUID(), iat: now, exp: now + 900, ...others };
};

test('in memory, the rules are the same', async (t) => {
  const blocklist = await Blocklist.inMemory({ issuer: 'https://shop.example' });
  t.after(() => blocklist.close());
  const [one, other, used] = [claims(), claims(), claims()];
  const called = new Promise((resolve) => blocklist.onRevoked(claims({ sid: one.sid }), () => resolve(true)));
  assert.equal(blocklist.isRevoked(one), false);
  const { everywhere } = await blocklist.revoke(one, { everywhere: true });
  assert.deepEqual(everywhere, { acknowledged: 1, waited_out: 0, unbounded: 0 });
  assert.ok(await called);
  assert.equal(blocklist.isRevoked(claims({ sid: one.sid })), true);
  assert.equal(blocklist.isRevoked(claims({ jti: one.jti })), true);
  assert.equal(blocklist.isRevoked({ ...one, iss: 'https://another.example' }), false);
  assert.equal(blocklist.isRevoked(other), false);
  const first = await Promise.all([blocklist.revokeOnce(used), blocklist.revokeOnce(used), blocklist.revokeOnce(used)]);
  assert.equal(first.filter(Boolean).length, 1);
  await blocklist.revokeSession(other.sid);
  assert.equal(blocklist.isRevoked(other), true);
  const issued = claims({ sub: 'jose' });
  await blocklist.revokeSubject('jose');
  assert.equal(blocklist.isRevoked(issued), true);
  assert.equal(blocklist.isRevoked(claims({ sub: 'jose' })), false);
  assert.throws(() => blocklist.isRevoked({ jti: 'a' }), { code: 'ADIEU_CLAIMS' });
  const isRevoked = forExpress.isRevoked(blocklist);
  assert.equal(await isRevoked({}, { header: {}, payload: one }), true);
  await assert.rejects(isRevoked({}, { header: {}, payload: claims({ type: 'refresh' }) }), { code: 'ADIEU_CLAIMS' });
  assert.equal(blocklist.status().failure, undefined);
  assert.equal((await Blocklist.inMemory()).isRevoked(claims({ jti: one.jti })), false, 'each has its own');

  blocklist.close();
  await assert.rejects(blocklist.revoke(claims()), { code: 'ADIEU_CLOSED' });
  await eventually(() => !blocklist.status().fresh, 'it is stale');
  assert.throws(() => blocklist.isRevoked(claims()), { code: 'ADIEU_STALE' });
  assert.equal(blocklist.isRevoked(one), true);
});

test('what a real node refuses is refused in memory too, and changes nothing', async (t) => {
  /** @type {Blocklist[]} */
  const blocklists = [];
  const node = await Node.start(t);
  blocklists.push((await follow(t, node)).blocklist, await Blocklist.inMemory(), await Blocklist.inMemory({ lifetime: 1e300 }));
  t.after(() => blocklists.forEach((blocklist) => blocklist.close()));
  const now = Math.floor(Date.now() / 1000);
  const wrong = /** @type {any[]} */ ([NaN, Infinity, -1, now * 1000, '1800000000', null]);
  const long = 'a'.repeat(513);
  for (const blocklist of blocklists) {
    for (const keepUntil of wrong) await assert.rejects(blocklist.revoke({ jti: 'x', keepUntil }), { code: 'ADIEU_USAGE' });
    for (const exp of wrong.slice(0, 4)) await assert.rejects(blocklist.revoke({ jti: 'x', exp }), { code: 'ADIEU_CLAIMS' });
    for (const jti of ['', long]) await assert.rejects(blocklist.revoke({ jti }), { code: 'ADIEU_CLAIMS' });
    for (const iss of /** @type {any[]} */ (['', long, 7, null])) {
      await assert.rejects(blocklist.revokeSubject('x', { iss }), { code: 'ADIEU_CLAIMS' });
      await assert.rejects(blocklist.revokeClaim('tenant', 'x', { iss }), { code: 'ADIEU_CLAIMS' });
      await assert.rejects(blocklist.revokeSession('x', { iss }), { code: 'ADIEU_CLAIMS' });
    }
    await assert.rejects(blocklist.revoke({ jti: 'x', exp: 253_402_300_799 }), { code: 'ADIEU_REJECTED' });
    // A part of a second is one more.
    await blocklist.revoke({ jti: 'kept', keepUntil: now + 59.5 });
    assert.equal(blocklist.isRevoked(claims({ jti: 'kept' })), true);
  }
  for (const session of ['', long, 7]) await assert.rejects(/** @type {Blocklist} */ (blocklists[1]).revokeSession(/** @type {any} */ (session)), { code: 'ADIEU_CLAIMS' });
  await assert.rejects(/** @type {Blocklist} */ (blocklists[2]).revokeSession('x'), { code: 'ADIEU_REJECTED' });
  // Longer than the bound, after which the memory would be stale if the follower could not read on.
  await new Promise((resolve) => setTimeout(resolve, 2100));
  for (const blocklist of blocklists) assert.equal(blocklist.isRevoked(claims({ jti: 'x' })), false);
});

test('a fractional keepUntil is rounded up', async (t) => {
  /** @type {any[]} */
  const sent = [];
  const url = await serve(t, async (request, response) => {
    let content = '';
    for await (const chunk of request) content += chunk;
    if (request.method === 'POST') sent.push(...JSON.parse(content).revocations);
    response.end(request.method === 'POST' ? '{}' : writePage([], { flags: 3, position: 0 }));
  });
  const blocklist = new Blocklist({ url, clientId: 'a', secret: 'b', onEvent() {} });
  t.after(() => blocklist.close());
  for (const keepUntil of [1_800_000_000, 1_800_000_000.001, 1_800_000_000.9]) await blocklist.revoke({ jti: 'x', keepUntil });
  assert.deepEqual(sent.map(({ keep_until: second }) => second), [1_800_000_000, 1_800_000_001, 1_800_000_001]);
});

test('a long log in memory is read in pages', async () => {
  const node = new MemoryNode();
  const body = { revocations: Array.from({ length: 25_000 }, (_, number) => ({ token_id: `${number}` })) };
  await node.ask('revocations', { firstByte: 0, body });
  /** @type {[number, boolean, boolean][]} */
  const pages = [];
  let cursor = '';
  while (pages.at(-1)?.[1] !== true) {
    const page = new Page((await node.ask(`revocations?wait=0${cursor && `&after=${cursor}`}`, { firstByte: 0 })).body);
    pages.push([page.entries().length, page.complete, page.fromStart]);
    cursor = page.cursor;
  }
  assert.deepEqual(pages, [[10_000, false, true], [10_000, false, false], [5000, true, false]]);
  // A request that waits is answered as soon as there is something.
  const waiting = node.ask(`revocations?wait=600000&after=${cursor}`, { firstByte: 0 });
  await node.ask('revocations', { firstByte: 0, body: { session: 's' } });
  assert.equal(new Page((await waiting).body).entries()[0]?.id, 's');
});

test('an application that is configured by the environment runs in memory without a secret', async (t) => {
  process.env.ADIEU_URL = 'memory:';
  t.after(() => delete process.env.ADIEU_URL);
  const blocklist = new Blocklist();
  t.after(() => blocklist.close());
  await blocklist.ready();
  assert.equal(blocklist.url, 'memory:');
});

test('a real server can be started for the tests of an application', async (t) => {
  const { ADIEU_BIN, PATH } = process.env;
  t.after(() => {
    if (ADIEU_BIN !== undefined) process.env.ADIEU_BIN = ADIEU_BIN;
    process.env.PATH = PATH;
  });
  process.env.ADIEU_BIN = BINARY;
  const server = await startServer({ settings: { max_staleness: '1s' } });
  const blocklist = new Blocklist({ ...server, maxStaleness: 1000 });
  await blocklist.ready();
  const one = claims();
  await blocklist.revoke(one);
  assert.equal(blocklist.isRevoked(one), true);
  blocklist.close();
  await server.stop();
  await assert.rejects(fetch(server.url));

  delete process.env.ADIEU_BIN;
  process.env.PATH = ['/none', dirname(BINARY)].join(delimiter);
  assert.equal(findServer(), BINARY);
  process.env.PATH = '/none';
  assert.equal(findServer(), undefined);
  await assert.rejects(startServer(), { code: 'ADIEU_USAGE', message: /set ADIEU_BIN/ });
  process.env.ADIEU_BIN = BINARY;
  process.env.PATH = PATH;
  const listeners = process.listenerCount('exit');
  await assert.rejects(startServer({ capabilities: 'fly' }));
  await assert.rejects(startServer({ settings: { unknown: 'x' } }), /ended with/);
  assert.equal(process.listenerCount('exit'), listeners);
});

test('a readiness probe is answered 200 while the memory is fresh, and 503 otherwise', async (t) => {
  const node = await Node.start(t);
  const { blocklist, proxy } = await follow(t, node, { maxStaleness: 300 });
  const plain = http.createServer(readiness(blocklist));
  plain.listen(0, '127.0.0.1');
  const app = express().get('/', readiness(blocklist)).listen(0, '127.0.0.1');
  await Promise.all([once(plain, 'listening'), once(app, 'listening')]);
  const other = fastify();
  other.get('/', readiness(blocklist));
  const addresses = [plain, app].map((server) => `http://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`);
  addresses.push(await other.listen({ port: 0, host: '127.0.0.1' }));
  t.after(() => Promise.all([plain.close(), app.close(), other.close()]));
  /** @returns {Promise<[number, string | null, unknown][]>} */
  const answers = () =>
    Promise.all(
      addresses.map(async (address) => {
        const answer = await fetch(address, { headers: { connection: 'close' } });
        return [answer.status, answer.headers.get('retry-after'), await answer.json()];
      }),
    );
  // A busy machine may be stale in between.
  await eventually(async () => assert.deepEqual(await answers(), Array(3).fill([200, null, { status: 'OK' }])) ?? true, 'it is ready');
  proxy.mode = 'cut';
  await eventually(() => !blocklist.status().fresh, 'it is stale');
  const message = 'Whether the token has been revoked is not known just now. Try again.';
  assert.deepEqual(await answers(), Array(3).fill([503, '1', { code: 503, message, status: 'Service Unavailable' }]));
});

test('Prometheus gets the figures under the names that a node has', async (t) => {
  const node = await Node.start(t);
  const { blocklist, proxy } = await follow(t, node, { maxStaleness: 300 });
  const register = new Registry();
  collect(blocklist, register);
  /** @param {string} name */
  const value = async (name) => Number(new RegExp(`^${name} (.*)$`, 'm').exec(await register.metrics())?.[1]);
  await blocklist.revoke({ jti: 'a' });
  assert.equal(await value('adieu_index_entries'), 1);
  assert.equal(await value('adieu_index_max_staleness_seconds'), 0.3);
  assert.ok((await value('adieu_index_staleness_seconds')) >= 0);
  assert.equal(await value('adieu_rejected_while_stale_total'), 0);
  assert.equal(await value('adieu_accepted_while_stale_total'), 0);
  proxy.mode = 'cut';
  await eventually(() => !blocklist.status().fresh, 'it is stale');
  for (let time = 0; time < 2; time += 1) assert.throws(() => blocklist.isRevoked(claims()));
  for (let time = 0; time < 2; time += 1) assert.equal(await value('adieu_rejected_while_stale_total'), 2);
  const unready = new Blocklist({ url: 'http://127.0.0.1:1', clientId: 'a', secret: 'b', onEvent() {} });
  t.after(() => unready.close());
  const another = new Registry();
  collect(unready, another);
  assert.match(await another.metrics(), /^adieu_index_staleness_seconds \+?Inf$/m);
});

test('OpenTelemetry gets the figures, and no staleness before there is one', async (t) => {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
  const provider = new MeterProvider({ readers: [reader] });
  t.after(() => provider.shutdown());
  const node = await Node.start(t);
  const { blocklist, proxy } = await startToFollow(t, node, { maxStaleness: 300 });
  proxy.mode = 'cut';
  observe(blocklist, provider.getMeter('adieu'));
  const values = async () => {
    exporter.reset();
    await provider.forceFlush();
    const metrics = exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics).flatMap((scope) => scope.metrics);
    return Object.fromEntries(metrics.map(({ descriptor, dataPoints }) => [`${descriptor.name} ${descriptor.unit}`, dataPoints[0]?.value]));
  };
  assert.throws(() => blocklist.isRevoked(claims()));
  assert.deepEqual(await values(), {
    'adieu.index.max_staleness s': 0.3,
    'adieu.index.entries ': 0,
    'adieu.rejected_while_stale ': 1,
    'adieu.accepted_while_stale ': 0,
  });
  proxy.mode = 'pass';
  await blocklist.ready();
  await blocklist.revoke({ jti: 'a' });
  const { 'adieu.index.staleness s': staleness, 'adieu.index.entries ': entries } = await values();
  assert.equal(entries, 1);
  assert.ok(typeof staleness === 'number' && staleness >= 0 && staleness < 60);
});
