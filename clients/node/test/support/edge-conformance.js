/** Answers the questions of `adieu-follower-conformance`, with the client for workers. */

import process from 'node:process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

import { Blocklist } from '../../src/edge.js';

const { ADIEU_URL: url = '', ADIEU_CLIENT: clientId = '', ADIEU_SECRET: secret = '', ADIEU_MAX_STALENESS_MS: bound } = process.env;
const blocklist = new Blocklist({ url, clientId, secret, maxStaleness: Number(bound) });

/** @type {Record<string, string>} */
const NAMES = { ADIEU_STALE: 'stale', ADIEU_CLAIMS: 'invalid', ADIEU_TOKEN: 'invalid' };

/** The requests of others: some exchanges go on only when it reads. */
async function keepAsking() {
  for (;;) {
    await blocklist.fresh();
    await sleep(5);
  }
}
void keepAsking();

for await (const line of createInterface({ input: process.stdin })) {
  const { claims, kid } = JSON.parse(line);
  const verdict = await blocklist.verdict(claims, kid);
  const name = 'code' in verdict ? NAMES[verdict.code] : verdict.revoked ? 'revoked' : 'accepted';
  process.stdout.write(`${JSON.stringify(name)}\n`);
}
