/** A service in its own process, which prints its verdict on the token of each line. */

import { createInterface } from 'node:readline';

import { Blocklist } from '../../src/index.js';

const { URL, CLIENT, SECRET, CLAIMS } = /** @type {Record<string, string>} */ (process.env);
const blocklist = new Blocklist({ url: URL ?? '', clientId: CLIENT ?? '', secret: SECRET ?? '' });
const claims = JSON.parse(CLAIMS ?? '');
await blocklist.ready();
createInterface({ input: process.stdin }).on('line', () => {
  let verdict;
  try {
    verdict = blocklist.isRevoked(claims) ? 'revoked' : 'accepted';
  } catch {
    verdict = 'stale';
  }
  console.log(verdict);
});
