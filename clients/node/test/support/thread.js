import { parentPort, workerData } from 'node:worker_threads';

import { Blocklist } from '../../src/index.js';

const { claims, ...options } = workerData;
const blocklist = new Blocklist(options);
await blocklist.ready();
parentPort?.postMessage(blocklist.isRevoked(claims));
