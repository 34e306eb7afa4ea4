/** Two workers of a cluster: one revokes a token, and both print their verdict before and after. */

import cluster from 'node:cluster';
import { once } from 'node:events';

import { Blocklist } from '../../src/index.js';

const { URL, CLIENT, SECRET, CLAIMS } = process.env;
const claims = JSON.parse(CLAIMS ?? '');

if (cluster.isPrimary) {
  // Otherwise the test would wait forever for a failed worker.
  cluster.on('exit', (_, code) => code && process.exit(code));
  const workers = [cluster.fork(), cluster.fork()];
  const hear = () => Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0]));
  const started = await hear();
  let after = hear();
  workers[0]?.send('revoke');
  workers[1]?.send('wait');
  console.log(
    JSON.stringify({
      before: started.map(({ verdict }) => verdict),
      after: (await after).map(({ verdict }) => verdict),
      followers: started.map(({ follower }) => follower),
    }),
  );
  for (const worker of workers) worker.disconnect();
} else {
  const blocklist = new Blocklist({ url: URL ?? '', clientId: CLIENT ?? '', secret: SECRET ?? '' });
  await blocklist.ready();
  const say = () => {
    const verdict = blocklist.isRevoked(claims) ? 'revoked' : 'accepted';
    process.send?.({ verdict, follower: blocklist.status().follower });
  };
  process.on('message', async (order) => {
    if (order === 'revoke') await blocklist.revoke(claims);
    while (!blocklist.isRevoked(claims)) await new Promise((resolve) => setTimeout(resolve, 5));
    say();
  });
  say();
}
