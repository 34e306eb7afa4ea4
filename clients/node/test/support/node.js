/** Starts a real node: the binary on a free port, with its data in a temporary folder. */

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { Blocklist } from '../../src/index.js';
import { environmentOf, spawnServer } from '../../src/testing.js';
import { Proxy } from './proxy.js';

/** @typedef {import('node:test').TestContext} TestContext */
/** @typedef {{ access: string, refresh: string }} Tokens */

const ROOT = fileURLToPath(new URL('../../../..', import.meta.url));
export const BINARY = process.env.ADIEU_BIN ?? resolve(ROOT, process.env.CARGO_TARGET_DIR ?? 'target', 'debug', 'adieu');

/** Longer than any step takes on the slowest machine; only a test that hangs reaches it. */
const TEST_TIMEOUT = 60_000;

/** The password of all users. */
const PASSWORD = 'correct horse battery staple';

export class Node {
  /** @type {import('node:child_process').ChildProcess} */
  #process;
  /** @type {NodeJS.ProcessEnv} */
  #environment;
  /** @type {Record<string, string>} */
  #settings;
  #folder;
  #data;
  port = 0;

  /**
   * @param {TestContext} t
   * @param {Record<string, string>} [settings] by their names
   */
  static async start(t, settings = {}) {
    const node = new Node(mkdtempSync(join(tmpdir(), 'adieu-')), settings);
    t.after(() => node.#end());
    await node.#run();
    return node;
  }

  /**
   * @param {string} folder
   * @param {Record<string, string>} settings
   */
  constructor(folder, settings) {
    this.#folder = folder;
    this.#data = join(folder, 'data');
    this.#settings = settings;
    this.#environment = environmentOf(this.#data, settings);
    // Started by `#run`; this keeps the type simple.
    this.#process = /** @type {any} */ (undefined);
  }

  async #run() {
    const server = await spawnServer(BINARY, this.#environment);
    this.#process = server.process;
    this.port = Number(new URL(server.url).port);
    await eventually(async () => (await fetch(`${this.url}/readyz`)).ok, 'the node is ready');
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  get pid() {
    return /** @type {number} */ (this.#process.pid);
  }

  /** Kills the node, and restarts it on the same data and another port. @param {Record<string, string>} [settings] that change */
  async restart(settings = {}) {
    await this.kill();
    this.#settings = { ...this.#settings, ...settings };
    this.#environment = environmentOf(this.#data, this.#settings);
    await this.#run();
  }

  async kill() {
    // It may not have started.
    if (this.#process?.exitCode !== null || this.#process.signalCode !== null) return;
    const exit = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await exit;
  }

  async #end() {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Runs a command on the same store. @param {string[]} words */
  command(...words) {
    return execFileSync(BINARY, words, { env: this.#environment, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  }

  /** Adds a client, and returns its secret. @param {string} name @param {string} [can] */
  addClient(name, can = 'follow,revoke') {
    return /** @type {string} */ (JSON.parse(this.command('client', 'add', name, '--capabilities', can, '--json')).secret);
  }

  /** Copies the data, as a backup does. */
  async backUp() {
    await this.kill();
    cpSync(this.#data, `${this.#data}.backup`, { recursive: true });
    await this.#run();
  }

  /** Restores a copy of the data. */
  async restore() {
    await this.kill();
    rmSync(this.#data, { recursive: true });
    cpSync(`${this.#data}.backup`, this.#data, { recursive: true });
    await this.#run();
  }

  /** Makes every read of the log fail, as a broken disk would. */
  breakLog() {
    const program = 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute("ALTER TABLE revocation RENAME TO gone")';
    execFileSync('python3', ['-c', program, join(this.#data, 'adieu.sqlite')]);
  }

  /**
   * @param {string} path
   * @param {{ token?: string, body?: unknown }} [options]
   */
  async post(path, { token, body } = {}) {
    /** @type {Record<string, string>} */
    const headers = {};
    if (token) headers.authorization = `Bearer ${token}`;
    if (body) headers['content-type'] = 'application/json';
    const answer = await fetch(this.url + path, { method: 'POST', headers, ...(body ? { body: JSON.stringify(body) } : {}) });
    if (!answer.ok) throw new Error(`${path} was answered ${answer.status}: ${await answer.text()}`);
    return /** @type {any} */ (await answer.json());
  }

  /** Logs a user in who is registered when there is no such user yet. @param {string} username @returns {Promise<Tokens>} */
  async logIn(username) {
    const body = { username, password: PASSWORD };
    await this.post('/register', { body }).catch(() => {});
    const { access_token: access, refresh_token: refresh } = await this.post('/login', { body });
    return { access, refresh };
  }

  /** Logs a user in with tokens for cookies, and returns the access token and its CSRF value. @param {string} username */
  async logInWithCookies(username) {
    const body = JSON.stringify({ username, password: PASSWORD });
    const answer = await fetch(`${this.url}/login?cookies=true`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    const access = answer.headers.getSetCookie().map((cookie) => /^__Host-access_token=([^;]+)/.exec(cookie)?.[1]).find(Boolean) ?? '';
    return { access, csrf: /** @type {string} */ (claimsOf(access).csrf) };
  }

  /** Logs an administrator in, who is added before. @param {string} username */
  async logInAsAdmin(username) {
    execFileSync(BINARY, ['user', 'add', '--admin', '--password-stdin', username], { env: this.#environment, input: PASSWORD });
    return this.logIn(username);
  }

  /** @param {string} token @returns {Promise<Tokens>} */
  async refresh(token) {
    const { access_token: access, refresh_token: refresh } = await this.post('/refresh', { token });
    return { access, refresh };
  }

  /** @param {string} token */
  async logOut(token) {
    await this.post('/logout', { token });
  }
}

/** What a token says; not verified. @param {string} token @returns {Record<string, any>} */
export function claimsOf(token) {
  return JSON.parse(Buffer.from(/** @type {string} */ (token.split('.')[1]), 'base64url').toString());
}

/**
 * Creates a blocklist that follows a node through a proxy, with its own client, and waits until it is ready.
 * @param {TestContext} t
 * @param {Node} node
 * @param {Partial<import('../../src/index.js').Options> & { can?: string }} [options]
 */
export async function follow(t, node, { can, ...options } = {}) {
  const { blocklist, proxy, events, secret } = await startToFollow(t, node, { can, ...options });
  await blocklist.ready();
  return { blocklist, proxy, events, secret };
}

let clients = 0;

/**
 * Like {@link follow}, without waiting until it is ready.
 * @param {TestContext} t
 * @param {Node} node
 * @param {Partial<import('../../src/index.js').Options> & { can?: string | undefined }} [options]
 */
export async function startToFollow(t, node, { can, ...options } = {}) {
  const proxy = await Proxy.start(t, node.port);
  clients += 1;
  const clientId = `client-${clients}`;
  const secret = options.secret ?? node.addClient(clientId, can);
  /** @type {import('../../src/index.js').Event[]} */
  const events = [];
  const onEvent = (/** @type {import('../../src/index.js').Event} */ event) => void events.push(event);
  const blocklist = new Blocklist({ url: proxy.url, clientId, secret, onEvent, ...options });
  t.after(() => blocklist.close());
  return { blocklist, proxy, events, secret };
}

/**
 * Waits until a condition is true.
 * @param {() => unknown} holds may also throw as long as it does not
 * @param {string} what
 */
export async function eventually(holds, what) {
  const until = performance.now() + TEST_TIMEOUT;
  for (;;) {
    /** @type {unknown} */
    let why;
    try {
      if (await holds()) return;
    } catch (error) {
      why = error;
    }
    if (performance.now() > until) throw new Error(`never: ${what}`, { cause: why });
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/**
 * Starts a service in its own process, and waits until it is ready. `ask` resolves with its verdict on these claims.
 * @param {TestContext} t
 * @param {Node} node
 * @param {{ url: string, maxStaleness: number, staleTimeout?: number }} options
 */
export async function startService(t, node, { url, maxStaleness, staleTimeout = 0 }) {
  clients += 1;
  const name = `service-${clients}`;
  const service = spawn(process.execPath, [fileURLToPath(new URL('service.js', import.meta.url))], {
    env: { ADIEU_URL: url, ADIEU_CLIENT: name, ADIEU_SECRET: node.addClient(name), BOUND: `${maxStaleness}`, STALE_TIMEOUT: `${staleTimeout}` },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const kill = () => service.kill('SIGKILL');
  t.after(kill);
  // A hook that fails before this one keeps it from running.
  process.once('exit', kill);
  service.once('exit', () => process.removeListener('exit', kill));
  const lines = createInterface({ input: service.stdout })[Symbol.asyncIterator]();
  await lines.next();
  const ask = async (/** @type {object} */ claims) => {
    service.stdin.write(`${JSON.stringify(claims)}\n`);
    return /** @type {string} */ ((await lines.next()).value);
  };
  return { service, ask };
}

/**
 * Sends a signal to a process. In Deno, `child.kill()` ends the process with any signal.
 * @param {import('node:child_process').ChildProcess} child
 * @param {NodeJS.Signals} signal
 */
export function send(child, signal) {
  process.kill(/** @type {number} */ (child.pid), signal);
}

/** 'accepted', 'revoked' or 'stale'. @param {Blocklist} blocklist @param {string} token */
export function verdict(blocklist, token) {
  try {
    return blocklist.isRevoked(claimsOf(token), token) ? 'revoked' : 'accepted';
  } catch (error) {
    if (error instanceof Error && error.name === 'StaleError') return 'stale';
    throw error;
  }
}
