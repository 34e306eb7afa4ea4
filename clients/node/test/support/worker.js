/** Runs a worker in workerd, the runtime of Cloudflare's workers. */

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { build } from 'esbuild';

/** The path of the program. Not imported: each runtime has another default of such a CommonJS module. @type {string} */
const WORKERD = createRequire(import.meta.url)('workerd').default;

/**
 * Bundles a worker without Node's modules, and runs it until the test ends. Resolves with its URL.
 * @param {import('node:test').TestContext} t
 * @param {string} file exports the Durable Object `Revocations`
 * @param {Record<string, string>} variables
 */
export async function startWorker(t, file, variables) {
  const folder = mkdtempSync(join(tmpdir(), 'adieu-worker-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const external = ['cloudflare:workers'];
  const conditions = ['workerd', 'worker', 'browser'];
  await build({ entryPoints: [file], bundle: true, format: 'esm', conditions, external, outfile: join(folder, 'worker.js'), logLevel: 'error' });
  const bindings = Object.entries(variables).map(([name, value]) => `(name = "${name}", text = ${JSON.stringify(value)})`);
  writeFileSync(
    join(folder, 'config.capnp'),
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .main), (name = "internet", network = (allow = ["public", "private"]))],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
const main :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = "2026-06-01",
  durableObjectNamespaces = [(className = "Revocations", uniqueKey = "revocations", enableSql = true)],
  durableObjectStorage = (inMemory = void),
  bindings = [(name = "REVOCATIONS", durableObjectNamespace = "Revocations"), ${bindings.join(', ')}],
);
`,
  );
  const worker = spawn(WORKERD, ['serve', '--control-fd=3', join(folder, 'config.capnp')], {
    stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
    env: {},
  });
  t.after(() => worker.kill('SIGKILL'));
  const control = /** @type {import('node:stream').Readable} */ (worker.stdio[3]);
  for await (const line of createInterface({ input: control })) {
    const { event, port } = JSON.parse(line);
    if (event === 'listen') return `http://127.0.0.1:${port}`;
  }
  throw new Error('workerd does not start');
}
