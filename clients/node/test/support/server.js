/** An HTTP server on loopback for the duration of a test. */

import { once } from 'node:events';
import http from 'node:http';

/**
 * Starts a server that answers with `listener`, and stops it after the test. Resolves with its URL.
 * @param {import('node:test').TestContext} t
 * @param {http.RequestListener} listener
 * @returns {Promise<string>}
 */
export async function serve(t, listener) {
  const server = http.createServer(listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`;
}
