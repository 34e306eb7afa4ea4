/**
 * Measures what the check costs behind each proxy: `ADIEU_BIN=target/release/adieu node tests/forward-auth/cost.mjs`. Needs `wrk`.
 * `PROXIES=nginx,Envoy` measures only these.
 *
 * Each proxy forwards public requests, and protected ones with Adieu on TCP and on a Unix socket, in turns, to a service in nginx. The table
 * has the medians of requests per second, and of the processor time per request of the proxy and of Adieu, in microseconds.
 */

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Node, eventually } from '../../clients/node/test/support/node.js';
import { NGINX, PROXIES, freePorts, startProxy, versionOf } from './proxies.mjs';
import { http1 } from './wire.mjs';

const TURNS = 3;
const SECONDS = '2s';
const CONNECTIONS = '16';
/** The length of a tick of `/proc/PID/stat`, in microseconds. */
const TICK = 1e6 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** @type {(() => unknown)[]} */
const ends = [];
const context = /** @type {import('node:test').TestContext} */ (/** @type {unknown} */ ({ after: (/** @type {() => unknown} */ end) => ends.unshift(end) }));

/** The processor time of a process and its children, in microseconds. @param {number} pid @returns {number} */
function cpuOf(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
  return (Number(fields[11]) + Number(fields[12])) * TICK + children.reduce((sum, child) => sum + cpuOf(Number(child)), 0);
}

/** Starts the service, and returns its port. */
async function startService() {
  const folder = mkdtempSync(join(tmpdir(), 'adieu-'));
  const [port = 0] = await freePorts(1);
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${name};`).join(' ');
  mkdirSync(join(folder, 'logs'));
  writeFileSync(join(folder, 'nginx.conf'), `daemon off; pid pid; error_log stderr crit; events {} http { access_log off; ${paths}
    keepalive_requests 1000000000; server { listen 127.0.0.1:${port}; location / { return 200 ok; } } }`);
  const user = process.getuid?.() === 0 ? ['-g', 'user root;'] : [];
  const child = spawn(NGINX, ['-p', folder, '-c', 'nginx.conf', ...user], { stdio: ['ignore', 'ignore', 'inherit'] });
  context.after(async () => {
    const exit = once(child, 'exit');
    child.kill('SIGTERM');
    await exit;
    rmSync(folder, { recursive: true });
  });
  await eventually(async () => (await http1(port, '/')).status === 200, 'the service runs');
  return port;
}

/**
 * Sends requests for some time.
 * @param {number} port @param {string} path @param {string} token @param {number} proxy @param {number} adieu process ids
 */
function load(port, path, token, proxy, adieu) {
  const before = [cpuOf(proxy), cpuOf(adieu)];
  const words = ['-t1', `-c${CONNECTIONS}`, `-d${SECONDS}`, '-H', `Authorization: Bearer ${token}`, `http://127.0.0.1:${port}${path}`];
  const said = execFileSync('wrk', words, { encoding: 'utf8' });
  const requests = Number(/(\d+) requests in/.exec(said)?.[1]);
  if (/Non-2xx|Socket errors/.test(said)) throw new Error(said);
  const [ofProxy = 0, ofAdieu = 0] = [cpuOf(proxy), cpuOf(adieu)].map((time, at) => (time - (before[at] ?? 0)) / requests);
  return [Number(/Requests\/sec: +([\d.]+)/.exec(said)?.[1]), ofProxy, ofAdieu];
}

/** @param {number[][]} turns the same measurements in each turn */
const medians = (turns) => (turns[0] ?? []).map((_, at) => turns.map((turn) => turn[at] ?? 0).sort((a, b) => a - b)[turns.length >> 1] ?? 0);

const folder = mkdtempSync(join(tmpdir(), 'adieu-'));
context.after(() => rmSync(folder, { recursive: true }));
try {
  const socket = join(folder, 'verify.sock');
  const node = await Node.start(context, { listen: `127.0.0.1:0,unix:${socket}` });
  const { access: token } = await node.logIn('jose');
  const service = await startService();
  console.log('| | public: requests/s | CPU of the proxy | TCP: requests/s | CPU of the proxy | of Adieu | Unix: requests/s | CPU of the proxy | of Adieu |');
  console.log('|---|---|---|---|---|---|---|---|---|');
  for (const [name, proxy] of Object.entries(PROXIES)) {
    if (!(process.env.PROXIES ?? name).split(',').includes(name)) continue;
    const tcp = await startProxy(context, name, { adieu: node.port, service });
    const unix = proxy.socket && (await startProxy(context, name, { adieu: socket, service }));
    /** @type {[number[][], number[][], number[][]]} */
    const [open, byTcp, byUnix] = [[], [], []];
    for (let turn = 0; turn < TURNS; turn += 1) {
      const measure = (/** @type {string} */ path, { port, child } = tcp) => load(port, path, token, /** @type {number} */ (child.pid), node.pid);
      open.push(measure('/public/x'));
      byTcp.push(measure('/items'));
      if (unix) byUnix.push(measure('/items', unix));
    }
    const cells = [medians(open).slice(0, 2), medians(byTcp), unix ? medians(byUnix) : [NaN, NaN, NaN]].flat();
    console.log(`| ${[`${name} ${versionOf(proxy)}`, ...cells.map((cell) => (Number.isNaN(cell) ? '' : Math.round(cell).toLocaleString('en')))].join(' | ')} |`);
  }
} finally {
  for (const end of ends) await end();
}
