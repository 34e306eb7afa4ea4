import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Blocklist } from '../src/index.js';
import { writePage } from '../src/page-writer.js';
import { Node, claimsOf, send } from './support/node.js';
import { serve } from './support/server.js';

/**
 * @param {import('node:test').TestContext} t
 * @param {string} program below `support`
 * @param {Record<string, string>} env
 */
function run(t, program, env) {
  const path = fileURLToPath(new URL(`support/${program}`, import.meta.url));
  const child = spawn(process.execPath, [path], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  return child;
}

/** @param {import('node:child_process').ChildProcess} child */
async function end(child) {
  const [code] = await once(child, 'exit');
  return code;
}

test('a process that only follows exits by itself, unless unref is false', async (t) => {
  const node = await Node.start(t);
  const env = { URL: node.url, CLIENT: 'ends', SECRET: node.addClient('ends') };
  assert.equal(await end(run(t, 'ends.js', env)), 0);

  const stays = run(t, 'ends.js', { ...env, STAYS: 'yes' });
  const [said] = await once(/** @type {import('node:stream').Readable} */ (stays.stdout), 'data');
  assert.equal(String(said), 'ready\n');
  // It is running until it gets the signal, and then exits.
  assert.equal(stays.exitCode, null);
  send(stays, 'SIGUSR2');
  assert.equal(await end(stays), 0);
});

test('a token that one worker of a cluster revokes is rejected by the other, and each is a follower of its own', async (t) => {
  const node = await Node.start(t);
  const jose = await node.logIn('jose');
  const child = run(t, 'cluster.js', {
    URL: node.url,
    CLIENT: 'cluster',
    SECRET: node.addClient('cluster'),
    CLAIMS: JSON.stringify(claimsOf(jose.access)),
  });
  let said = '';
  /** @type {import('node:stream').Readable} */ (child.stdout).on('data', (bytes) => (said += bytes));
  assert.equal(await end(child), 0);
  const { before, after, followers } = JSON.parse(said);
  assert.deepEqual(before, ['accepted', 'accepted']);
  assert.deepEqual(after, ['revoked', 'revoked']);
  assert.equal(new Set(followers).size, 2);
});

test('a process with nothing else to do reads a long log without a break', async (t) => {
  const page = writePage(Array.from({ length: 60_000 }, (_, number) => ({ issuer: 'adieu', kind: 'token', id: `${number}`, issuedUntil: 0, lapsesAt: 2e9 })), { flags: 3 });
  const url = await serve(t, (request, response) => void (request.url?.includes('wait=0') && response.end(page)));
  const blocklist = new Blocklist({ url, clientId: 'a', secret: 'b', maxStaleness: 80_000_000 });
  t.after(() => blocklist.close());
  // If the loop sleeps after the answer, the timeout of this is what wakes it.
  await blocklist.ready();
  assert.equal(blocklist.status().revocations, 60_000);
});

test('a worker thread follows by itself', async (t) => {
  const { Worker } = await import('node:worker_threads');
  const node = await Node.start(t);
  const jose = await node.logIn('jose');
  await node.logOut(jose.access);
  const worker = new Worker(new URL('support/thread.js', import.meta.url), {
    workerData: { url: node.url, clientId: 'thread', secret: node.addClient('thread'), claims: claimsOf(jose.access) },
  });
  const end = once(worker, 'exit');
  const [verdict] = await once(worker, 'message');
  assert.equal(verdict, true);
  // The thread ends by itself.
  await end;
});
