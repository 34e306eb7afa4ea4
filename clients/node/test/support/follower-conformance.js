/** Answers the questions of `adieu-follower-conformance`: `isRevoked`, as an application calls it. */

import process from 'node:process';
import { createInterface } from 'node:readline';

import { Blocklist, InvalidClaimsError, StaleError } from '../../src/index.js';

const { ADIEU_URL: url = '', ADIEU_CLIENT: clientId = '', ADIEU_SECRET: secret = '', ADIEU_MAX_STALENESS_MS: bound } = process.env;
const blocklist = new Blocklist({ url, clientId, secret, maxStaleness: Number(bound) });

/** @param {{ claims: import('../../src/index.js').Claims, kid?: string }} question */
function verdict({ claims, kid }) {
  try {
    return blocklist.isRevoked(claims, undefined, kid) ? 'revoked' : 'accepted';
  } catch (error) {
    if (error instanceof StaleError) return 'stale';
    if (error instanceof InvalidClaimsError) return 'invalid';
    throw error;
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(verdict(JSON.parse(line)))}\n`);
}
