import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core';
import express from 'express';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';

import { Application } from './support/package.js';

/** @type {Application} */
let app;
before((t) => {
  app = new Application(/** @type {import('node:test').TestContext} */ (t));
  // The entry `prometheus` needs it, and no other does.
  app.add('prom-client');
});

test('the package has its licences, its changelog and its types, and nothing but the client', () => {
  const wanted = ['README.md', 'CHANGELOG.md', 'LICENSE-APACHE', 'LICENSE-MIT', 'src/index.js', 'cjs/package.json'];
  for (const name of wanted) assert.ok(app.files.includes(name), `${name} is missing`);
  for (const name of app.files) assert.match(name, /^([A-Z-]+(\.md)?|package\.json|cjs\/package\.json|src\/[a-z-]+\.js|cjs\/[a-z-]+(\.d\.ts|\.js)|types\/[a-z-]+\.d\.ts)$/);
  assert.equal(app.manifest.dependencies, undefined);
  for (const name of ['author', 'bugs', 'homepage', 'keywords', 'license', 'repository']) assert.ok(app.manifest[name], name);
});

test('every entry has the same names as an ES module and in CommonJS', () => {
  for (const name of Object.keys(app.manifest.exports)) {
    const entry = `@adieu/client${name.slice(1)}`;
    const names = [
      app.node(['--input-type=module', '--eval', `import * as all from '${entry}'; console.log(Object.keys(all).sort().join())`]),
      app.node(['--input-type=commonjs', '--eval', `console.log(Object.keys(require('${entry}')).sort().join())`]),
    ];
    assert.equal(names[0], names[1], entry);
    assert.notEqual(names[0], '\n', entry);
  }
});

test('the types are right for every way to resolve modules', async () => {
  const analysis = await checkPackage(createPackageFromTarballData(app.tarball));
  assert.ok(analysis.types, 'there are types');
  assert.deepEqual(analysis.problems, []);
  assert.deepEqual(Object.keys(analysis.entrypoints).filter((name) => !/package\.json/.test(name)), Object.keys(app.manifest.exports));

  const tarball = /** @type {ArrayBuffer} */ (new Uint8Array(app.tarball).buffer);
  const { messages } = await publint({ pack: { tarball }, strict: true });
  assert.deepEqual(messages.map((message) => formatMessage(message, app.manifest, { color: false })), []);
});

const CONSUMER = `
import { expressjwt } from 'express-jwt';
import type { FastifyInstance } from 'fastify';
import fastifyJwt from '@fastify/jwt';
import express from 'express';
import { Registry } from 'prom-client';
import { Blocklist, NodeError, RevokedError, StaleError, Verifier, readiness, type Event, type Options, type Revoked, type Status } from '@adieu/client';
import { isRevoked, refusals } from '@adieu/client/express-jwt';
import * as forFastify from '@adieu/client/fastify-jwt';
import { assertGood } from '@adieu/client/jose';
import { collect } from '@adieu/client/prometheus';
import { startServer, type TestServer } from '@adieu/client/testing';

const options: Options = { url: 'http://127.0.0.1:1', clientId: 'a', secret: 'b', onEvent: (event: Event) => console.log(event.message) };
const files: Options = { ...options, caFile: 'ca.pem', certificateFile: 'certificate.pem' };
export const blocklist = new Blocklist(options);
export const withFiles = () => new Blocklist(files);
export const revoked: boolean = blocklist.isRevoked({ exp: 1 });
export const status: Status = blocklist.status();
export const done: Promise<Revoked> = blocklist.revoke({ jti: 'x' }, { everywhere: true });
export const wanted = (error: unknown) => error instanceof StaleError || error instanceof RevokedError || error instanceof NodeError;

export const app = express();
app.get('/readyz', readiness(blocklist));
collect(blocklist, new Registry());
export const inMemory: Promise<Blocklist> = Blocklist.inMemory({ maxStaleness: 500 });
export const server: Promise<TestServer> = startServer({ settings: { max_staleness: '1s' } });
export const cancel: () => void = blocklist.onRevoked({ jti: 'x', exp: 1 }, async () => {});
app.use(expressjwt({ secret: 's', algorithms: ['HS256'], isRevoked: isRevoked(blocklist) }));
app.use(refusals());
export async function register(fastify: FastifyInstance) {
  fastify.get('/readyz', readiness(blocklist));
  await fastify.register(fastifyJwt, { secret: 's', trusted: forFastify.trusted(blocklist, { getToken: forFastify.bearerToken }) });
  fastify.setErrorHandler(forFastify.refusals());
}
export const verify = (payload: object, token: string) => assertGood(blocklist, { protectedHeader: {}, payload }, { token });

export const ofEnvironment = () => new Blocklist();
export const verifier = new Verifier({ ...options, issuer: 'adieu', cache: {}, profile: { genericType: true } });
export const subject: string | number | undefined = verifier.verify('a.b.c', { type: null, audience: ['shop'] }).sub;
export const shared = new Verifier({ blocklist, issuer: 'adieu', key: 's', algorithm: 'HS256', profile: 'plain' });
// @ts-expect-error: the issuer is missing
new Verifier(options);
// @ts-expect-error: a secret is text
new Blocklist({ url: 'http://127.0.0.1:1', clientId: 'a', secret: 7 });
// @ts-expect-error: there is no such policy
new Blocklist({ ...options, stalePolicy: 'perhaps' });
`;

test('the types fit the real frameworks in every module mode of TypeScript, and its strictest options', () => {
  app.add('@fastify/jwt', '@types/express', '@types/jsonwebtoken', '@types/node', 'express', 'express-jwt', 'fastify', 'jsonwebtoken');
  for (const extension of ['mts', 'cts', 'ts']) app.write(`consumer.${extension}`, CONSUMER);
  const entries = Object.keys(app.manifest.exports).map((name, number) => `export * as n${number} from '@adieu/client${name.slice(1)}';`);
  for (const extension of ['mts', 'cts']) app.write(`strictest.${extension}`, entries.join('\n'));
  for (const words of [
    ['--module', 'node16', '--skipLibCheck', 'consumer.mts', 'consumer.cts'],
    ['--module', 'nodenext', '--skipLibCheck', 'consumer.mts', 'consumer.cts'],
    ['--module', 'commonjs', '--skipLibCheck', 'consumer.ts'],
    ['--module', 'esnext', '--moduleResolution', 'bundler', '--skipLibCheck', 'consumer.ts'],
    ['--module', 'node16', '--noUncheckedIndexedAccess', '--exactOptionalPropertyTypes', 'strictest.mts', 'strictest.cts'],
  ]) {
    app.tool('typescript/bin/tsc', ['--strict', '--noEmit', '--esModuleInterop', '--target', 'es2022', ...words]);
  }
});

test('an error of one form is recognised by the integrations of the other, by its code', async (t) => {
  const place = join(app.folder, 'node_modules/@adieu/client');
  const require = createRequire(join(app.folder, 'index.js'));
  /** @param {string} name @returns {Promise<any[]>} both forms of an entry */
  const both = async (name) => [
    await import(pathToFileURL(join(place, app.manifest.exports[name].import.default)).href),
    require(join('@adieu/client', name)),
  ];
  const [clients, integrations] = [await both('.'), await both('./express-jwt')];
  for (const [form, { Blocklist, AdieuError }] of clients.entries()) {
    const { isRevoked, refusals } = integrations[1 - form];
    const blocklist = new Blocklist({ url: 'http://127.0.0.1:1', clientId: 'a', secret: 'b', onEvent: () => {} });
    t.after(() => blocklist.close());
    const payload = { jti: 'x', exp: Math.floor(Date.now() / 1000) + 60 };
    /** @type {Record<string, () => unknown>} */
    const causes = {
      '/stale': () => isRevoked(blocklist)({}, { header: {}, payload }),
      '/kind': () => isRevoked(blocklist)({}, { header: {}, payload: { ...payload, type: 'refresh' } }),
      '/claims': () => blocklist.isRevoked({}),
      '/node': () => blocklist.revoke(payload, { timeout: 0 }),
      '/usage': () => blocklist.revokeSession(),
    };
    await assert.rejects(async () => causes['/stale']?.(), (error) => error instanceof AdieuError && !(error instanceof clients[1 - form].AdieuError));

    const server = express();
    server.set('env', 'test');
    for (const [path, cause] of Object.entries(causes)) server.get(path, async () => cause());
    server.use(refusals());
    const listener = server.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    t.after(() => listener.close());
    const { port } = /** @type {import('node:net').AddressInfo} */ (listener.address());
    t.mock.method(console, 'error', () => {});
    const statuses = [];
    for (const path of Object.keys(causes)) {
      const answer = await fetch(`http://127.0.0.1:${port}${path}`);
      statuses.push([path, answer.status, answer.headers.get('content-type')?.split(';')[0]]);
    }
    assert.deepEqual(statuses, [
      ['/stale', 503, 'application/json'],
      ['/kind', 401, 'application/json'],
      ['/claims', 401, 'application/json'],
      ['/node', 503, 'application/json'],
      ['/usage', 500, 'text/html'],
    ]);
  }
});
