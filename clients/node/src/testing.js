/** A real server, for an application's own tests. Without a server: `Blocklist.inMemory()`. */

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';

import { UsageError } from './errors.js';

/**
 * A running server and credentials for it: `new Blocklist(server)`.
 * @typedef {object} TestServer
 * @property {string} url
 * @property {string} clientId
 * @property {string} secret
 * @property {() => Promise<void>} stop ends it, and removes its data
 */

/** Returns the path of the server: `ADIEU_BIN`, or the `adieu` that is on the path; undefined if there is none. */
export function findServer() {
  const { ADIEU_BIN, PATH = '' } = process.env;
  return ADIEU_BIN ?? PATH.split(delimiter).map((folder) => join(folder, 'adieu')).find((path) => existsSync(path));
}

/**
 * Starts a server on a free port, with a client and an empty store.
 * @param {object} [options]
 * @param {Record<string, string>} [options.settings] by their names: `{ max_staleness: '1s' }`
 * @param {string} [options.capabilities] those of the client: `follow,revoke` by default
 * @returns {Promise<TestServer>}
 * @throws {UsageError} when there is no server on the path
 */
export async function startServer({ settings = {}, capabilities = 'follow,revoke' } = {}) {
  const binary = findServer();
  if (binary === undefined) throw new UsageError('the server `adieu` is not on the path; set ADIEU_BIN');
  const folder = mkdtempSync(join(tmpdir(), 'adieu-'));
  const environment = environmentOf(join(folder, 'data'), settings);
  const server = await spawnServer(binary, environment).catch((error) => {
    rmSync(folder, { recursive: true });
    throw error;
  });
  const stop = async () => {
    const exit = once(server.process, 'exit');
    if (server.process.kill('SIGKILL')) await exit;
    rmSync(folder, { recursive: true, force: true });
  };
  const words = ['client', 'add', 'tests', '--capabilities', capabilities, '--json'];
  try {
    const { secret } = JSON.parse(execFileSync(binary, words, { env: environment, encoding: 'utf8' }));
    return { url: server.url, clientId: 'tests', secret, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/**
 * Returns the variables of a server that listens on a free port.
 * @param {string} data the folder for its data
 * @param {Record<string, string>} settings
 * @returns {NodeJS.ProcessEnv}
 */
export function environmentOf(data, settings) {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('ADIEU_'));
  const set = Object.entries(settings).map(([name, value]) => [`ADIEU_${name.toUpperCase()}`, value]);
  return {
    ...Object.fromEntries(kept),
    ADIEU_LISTEN: '127.0.0.1:0',
    ADIEU_DATA: data,
    ADIEU_LOG_LEVEL: 'error',
    ...Object.fromEntries(set),
  };
}

/**
 * Runs the server, and resolves once it listens.
 * @param {string} binary
 * @param {NodeJS.ProcessEnv} env
 */
export async function spawnServer(binary, env) {
  const child = spawn(binary, ['serve'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  // If the tests end without ending it.
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('exit', () => process.removeListener('exit', kill));
  const lines = createInterface({ input: child.stdout });
  /** @type {string} */
  const url = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${binary} ended with ${code}`)));
    lines.on('line', (line) => {
      const address = /https?:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0];
      if (address) resolve(address);
    });
  });
  return { process: child, url };
}
