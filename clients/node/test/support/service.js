/** A service in its own process, which prints its verdict on the claims of each line. */

import { createInterface } from 'node:readline';

import { Blocklist } from '../../src/index.js';

const blocklist = new Blocklist({ maxStaleness: Number(process.env.BOUND), staleTimeout: Number(process.env.STALE_TIMEOUT) });
await blocklist.ready();
console.log('ready');
for await (const line of createInterface({ input: process.stdin })) {
  await blocklist.fresh();
  let verdict;
  try {
    verdict = blocklist.isRevoked(JSON.parse(line)) ? 'revoked' : 'accepted';
  } catch {
    verdict = 'stale';
  }
  console.log(verdict);
}
