/** The answer to a readiness probe. */

import { StaleError } from './errors.js';

/**
 * The part of a response of Express, Node or Fastify that the handler uses.
 * @typedef {{ writeHead(status: number, headers: Record<string, string>): unknown, end(body: string): unknown }
 *   | { code(status: number): unknown, headers(headers: Record<string, string>): unknown, send(body: object): unknown }} Response
 */

/**
 * Returns a handler for Express, Fastify and `node:http` that answers 200 if the memory is fresh, and 503 otherwise.
 * @param {import('./blocklist.js').Blocklist} blocklist
 * @returns {(request: unknown, response: Response) => void}
 */
export function readiness(blocklist) {
  return (_request, response) => {
    const { fresh } = blocklist.status();
    const { status, headers, body } = fresh ? { status: 200, headers: {}, body: { status: 'OK' } } : new StaleError();
    const all = { ...headers, 'Content-Type': 'application/json; charset=utf-8', 'Cache-Control': 'no-store' };
    if ('send' in response && 'code' in response) {
      response.code(status);
      response.headers(all);
      response.send(body);
    } else if ('end' in response) {
      response.writeHead(status, all);
      response.end(JSON.stringify(body));
    }
  };
}
