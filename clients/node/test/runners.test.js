import { before, test } from 'node:test';

import { Node } from './support/node.js';
import { Application } from './support/package.js';

/** The tests of an application, for a runner that has `test` as a global. */
const SUITE = `
const { NODE_URL: url, CLIENT: clientId, SECRET: secret } = process.env;
const claims = () => ({ jti: crypto.randomUUID(), exp: Math.floor(Date.now() / 1000) + 900 });

test('a logout is known at once, and to others soon', async () => {
  const blocklist = new Blocklist({ url, clientId, secret });
  const other = new Blocklist({ url, clientId, secret });
  await Promise.all([blocklist.ready(), other.ready()]);
  const [mine, theirs] = [claims(), claims()];
  await blocklist.revoke(mine, { everywhere: true });
  assert.deepEqual([mine, theirs].map((one) => blocklist.isRevoked(one)), [true, false]);
  assert.deepEqual([mine, theirs].map((one) => other.isRevoked(one)), [true, false]);
  await assert.rejects(isRevoked(blocklist)({}, { header: {}, payload: {} }), (error) => error instanceof InvalidClaimsError);
  blocklist.close();
  other.close();
});

test('a node that cannot be reached is an error with its cause', async () => {
  const blocklist = new Blocklist({ url: 'http://127.0.0.1:1', clientId, secret, onEvent() {} });
  assert.throws(() => blocklist.isRevoked(claims()), { name: 'StaleError', code: 'ADIEU_STALE', status: 503 });
  await assert.rejects(blocklist.revoke(claims(), { timeout: 2000 }), { code: 'ADIEU_UNREACHABLE', message: /ECONNREFUSED/ });
  blocklist.close();
});
`;

const IMPORT = `
import assert from 'node:assert/strict';
import { Blocklist, InvalidClaimsError } from '@adieu/client';
import { isRevoked } from '@adieu/client/express-jwt';
`;
const REQUIRE = `
const assert = require('node:assert/strict');
const { Blocklist, InvalidClaimsError } = require('@adieu/client');
const { isRevoked } = require('@adieu/client/express-jwt');
`;

/**
 * For each runner the name of the file with its tests, its content, and how the application runs it.
 * @type {Record<string, [string, string, (app: Application, variables: Record<string, string>) => unknown]>}
 */
const RUNNERS = {
  'node:test, as an ES module': [
    'runner.test.mjs',
    `import { test } from 'node:test'; ${IMPORT}`,
    (app, variables) => app.node(['--test', 'runner.test.mjs'], variables),
  ],
  'node:test, in CommonJS': [
    'runner.test.cjs',
    `const { test } = require('node:test'); ${REQUIRE}`,
    (app, variables) => app.node(['--test', 'runner.test.cjs'], variables),
  ],
  'jest, as an ES module': [
    'jest.esm.mjs',
    IMPORT,
    (app, variables) => jest(app, 'jest.esm.mjs', { ...variables, NODE_OPTIONS: '--experimental-vm-modules' }),
  ],
  'jest, in CommonJS': ['jest.common.cjs', REQUIRE, (app, variables) => jest(app, 'jest.common.cjs', variables)],
  vitest: [
    'vitest.test.mjs',
    IMPORT,
    (app, variables) => app.tool('vitest/vitest.mjs', ['run', '--globals', 'vitest.test.mjs'], variables),
  ],
};

/** @param {Application} app @param {string} file @param {Record<string, string>} variables */
function jest(app, file, variables) {
  app.tool('jest/bin/jest.js', ['--ci', '--no-cache', '--no-watchman', '--rootDir', '.', '--testMatch', `**/${file}`, '--transform', '{}'], variables);
}

/** @type {Application} */
let app;
before((t) => {
  app = new Application(/** @type {import('node:test').TestContext} */ (t));
});

for (const [name, [file, head, run]] of Object.entries(RUNNERS)) {
  test(`the package works in the tests of an application: ${name}`, async (t) => {
    const node = await Node.start(t);
    app.write(file, head + SUITE);
    run(app, { NODE_URL: node.url, CLIENT: 'shop', SECRET: node.addClient('shop') });
  });
}
