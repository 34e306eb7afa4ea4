import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

const CONSUMER = `
import { expressjwt } from 'express-jwt';
import type { FastifyInstance } from 'fastify';
import fastifyJwt from '@fastify/jwt';
import express from 'express';
import { Blocklist, NodeError, RevokedError, StaleError, type Event, type Options, type Revoked, type Status } from '@adieu/client';
import { isRevoked, refusals } from '@adieu/client/express-jwt';
import * as forFastify from '@adieu/client/fastify-jwt';
import { assertGood } from '@adieu/client/jose';
import { jwtVerify } from 'jose';

const options: Options = { url: 'http://127.0.0.1:1', clientId: 'a', secret: 'b', onEvent: (event: Event) => console.log(event.message) };
export const blocklist = new Blocklist(options);
export const revoked: boolean = blocklist.isRevoked({ exp: 1 });
export const status: Status = blocklist.status();
export const done: Promise<Revoked> = blocklist.revoke({ jti: 'x' }, { everywhere: true });
export const wanted = (error: unknown) => error instanceof StaleError || error instanceof RevokedError || error instanceof NodeError;

export const app = express();
app.use(expressjwt({ secret: 's', algorithms: ['HS256'], isRevoked: isRevoked(blocklist) }));
app.use(refusals());
export async function register(fastify: FastifyInstance) {
  await fastify.register(fastifyJwt, { secret: 's', trusted: forFastify.trusted(blocklist) });
  fastify.setErrorHandler(forFastify.refusals());
}
export const verify = async (token: string, key: Uint8Array) => assertGood(blocklist, await jwtVerify(token, key), { token });

export const ofEnvironment = () => new Blocklist();
// @ts-expect-error: a secret is text
new Blocklist({ url: 'http://127.0.0.1:1', clientId: 'a', secret: 7 });
// @ts-expect-error: there is no such policy
new Blocklist({ ...options, stalePolicy: 'perhaps' });
`;

test('the published package works alone, has types that fit the real packages, and has no dependencies', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'adieu-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const run = (/** @type {string} */ program, /** @type {string[]} */ ...words) =>
    execFileSync(program, words, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

  const source = join(folder, 'source');
  cpSync(ROOT, source, { recursive: true, filter: (path) => !/node_modules|[/\\]types$/.test(path) });
  symlinkSync(join(ROOT, 'node_modules'), join(source, 'node_modules'));
  const [{ filename, files }] = JSON.parse(run('npm', 'pack', '--json', '--silent', source));
  const names = files.map((/** @type {{ path: string }} */ { path }) => path);
  assert.ok(['README.md', 'src/index.js', 'types/index.d.ts', 'types/express-jwt.d.ts'].every((name) => names.includes(name)), names);
  assert.ok(!names.some((/** @type {string} */ name) => /test|bench/.test(name)), names);

  run('tar', 'xzf', filename);
  mkdirSync(join(folder, 'app', 'node_modules', '@adieu'), { recursive: true });
  cpSync(join(folder, 'package'), join(folder, 'app/node_modules/@adieu/client'), { recursive: true });
  const { dependencies, exports } = JSON.parse(readFileSync(join(folder, 'package/package.json'), 'utf8'));
  assert.equal(dependencies, undefined);
  const imports = Object.keys(exports).map((name) => `await import('@adieu/client${name.slice(1)}');`);
  writeFileSync(join(folder, 'app/run.mjs'), imports.join('\n'));
  run(process.execPath, 'app/run.mjs');

  for (const name of ['express', 'express-jwt', 'fastify', '@fastify', '@types', 'jose', 'jsonwebtoken']) {
    symlinkSync(join(ROOT, 'node_modules', name), join(folder, 'app/node_modules', name));
  }
  writeFileSync(join(folder, 'app/consumer.mts'), CONSUMER);
  try {
    run(process.execPath, join(ROOT, 'node_modules/typescript/bin/tsc'), '--strict', '--noEmit', '--skipLibCheck', '--module', 'nodenext', '--target', 'es2022', '--preserveSymlinks', 'app/consumer.mts');
  } catch (error) {
    assert.fail(/** @type {{ stdout: string }} */ (error).stdout);
  }
});
