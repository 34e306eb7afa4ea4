/** The example examples/websocket.js, as a user runs it. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { WebSocket } from 'ws';

import { Node, eventually } from './support/node.js';

test('a WebSocket is closed when its session is logged out, and no other is', { timeout: 60_000 }, async (t) => {
  const node = await Node.start(t);
  const server = spawn(process.execPath, [fileURLToPath(new URL('../examples/websocket.js', import.meta.url))], {
    env: { ADIEU_URL: node.url, ADIEU_CLIENT: 'news', ADIEU_SECRET: node.addClient('news') },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => server.kill('SIGKILL'));
  const url = String((await once(server.stdout, 'data'))[0]).trim();

  /** @param {string} [token] */
  const connect = (token) => new WebSocket(url, token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } });
  /** @param {WebSocket} socket @param {string} message */
  const echo = async (socket, message) => {
    socket.send(message);
    assert.equal(String((await once(socket, 'message'))[0]), message);
  };
  /** @param {string} [token] */
  const status = async (token) => {
    const socket = connect(token).on('error', () => {});
    const [, response] = await once(socket, 'unexpected-response');
    socket.terminate();
    return response.statusCode;
  };

  const [jose, ana] = [await node.logIn('jose'), await node.logIn('ana')];
  const other = await node.logIn('jose');
  const sockets = [jose, ana, other].map(({ access }) => connect(access));
  await Promise.all(sockets.map((socket) => once(socket, 'open')));
  const [ofJose, ofAna, ofOther] = /** @type {[WebSocket, WebSocket, WebSocket]} */ (sockets);
  for (const socket of sockets) await echo(socket, 'hello');

  const closed = once(ofJose, 'close');
  // By its refresh token: the session ends.
  await node.logOut(jose.refresh);
  assert.equal((await closed)[0], 4401);
  await echo(ofAna, 'still here');
  await echo(ofOther, 'still here');
  assert.deepEqual([await status(jose.access), await status(), await status('x'), await status(ana.refresh)], [401, 401, 401, 401]);
  for (const socket of sockets) socket.terminate();
});

test('a WebSocket is closed when the key that signed its token is revoked, and no other is', { timeout: 60_000 }, async (t) => {
  const node = await Node.start(t);
  const kid = (/** @type {string} */ access) => JSON.parse(Buffer.from(access.split('.')[0] ?? '', 'base64url').toString()).kid;
  const jose = await node.logIn('jose');
  node.command('key', 'rotate', '--after', '0s');
  let ana = jose;
  await eventually(async () => {
    ana = await node.logIn('ana');
    return kid(ana.access) !== kid(jose.access);
  }, 'the new key signs');
  const server = spawn(process.execPath, [fileURLToPath(new URL('../examples/websocket.js', import.meta.url))], {
    env: { ADIEU_URL: node.url, ADIEU_CLIENT: 'news', ADIEU_SECRET: node.addClient('news') },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => server.kill('SIGKILL'));
  const url = String((await once(server.stdout, 'data'))[0]).trim();
  const sockets = [jose, ana].map(({ access }) => new WebSocket(url, { headers: { authorization: `Bearer ${access}` } }));
  await Promise.all(sockets.map((socket) => once(socket, 'open')));
  const [ofJose, ofAna] = /** @type {[WebSocket, WebSocket]} */ (sockets);
  const closed = once(ofJose, 'close');
  node.command('key', 'remove', kid(jose.access));
  assert.equal((await closed)[0], 4401);
  ofAna.send('still here');
  assert.equal(String((await once(ofAna, 'message'))[0]), 'still here');
  ofAna.terminate();
});

test('a WebSocket is closed when its token expires', { timeout: 60_000 }, async (t) => {
  const node = await Node.start(t, { access_lifetime: '6s', rotation_grace: '1s' });
  const server = spawn(process.execPath, [fileURLToPath(new URL('../examples/websocket.js', import.meta.url))], {
    env: { ADIEU_URL: node.url, ADIEU_CLIENT: 'news', ADIEU_SECRET: node.addClient('news') },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => server.kill('SIGKILL'));
  const url = String((await once(server.stdout, 'data'))[0]).trim();
  const { access } = await node.logIn('jose');
  const socket = new WebSocket(url, { headers: { authorization: `Bearer ${access}` } });
  assert.equal((await once(socket, 'close'))[0], 4401);
});
