/** A process that only follows. */

import { Blocklist } from '../../src/index.js';

const { URL, CLIENT, SECRET, STAYS } = process.env;
const blocklist = new Blocklist({ url: URL ?? '', clientId: CLIENT ?? '', secret: SECRET ?? '', unref: !STAYS });
await blocklist.ready();
// A signal handler does not keep the process alive.
process.on('SIGUSR2', () => blocklist.close());
console.log('ready');
