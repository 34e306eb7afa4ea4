/** The package as npm publishes it, installed into the folder of an application that has nothing else. */

import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export class Application {
  #modules;
  folder;
  tarball;
  /** The paths in the tarball. @type {string[]} */
  files;

  /**
   * Packs a copy of the sources, so that no built file remains among them, and installs the tarball.
   * @param {{ after(end: () => void): void }} t
   */
  constructor(t) {
    const folder = mkdtempSync(join(tmpdir(), 'adieu-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const source = join(folder, 'source/clients/node');
    cpSync(ROOT, source, { recursive: true, filter: (path) => !/node_modules|[/\\](cjs|types|LICENSE.*)$/.test(path) });
    symlinkSync(join(ROOT, 'node_modules'), join(source, 'node_modules'));
    for (const name of ['CHANGELOG.md', 'LICENSE-APACHE', 'LICENSE-MIT']) {
      cpSync(join(ROOT, '../..', name), join(folder, 'source', name));
    }
    this.folder = join(folder, 'app');
    mkdirSync(this.folder);
    this.#modules = join(this.folder, 'node_modules');
    const [{ filename, files }] = JSON.parse(this.run('npm', ['pack', '--json', '--silent', source]));
    this.files = files.map((/** @type {{ path: string }} */ { path }) => path);
    this.tarball = readFileSync(join(this.folder, filename));
    this.run('npm', ['install', `./${filename}`, '--offline', '--no-audit', '--no-fund', '--silent']);
  }

  /** The `package.json` that was installed. @returns {Record<string, any>} */
  get manifest() {
    return JSON.parse(this.read('node_modules/@adieu/client/package.json'));
  }

  /** Adds packages that the client is used with. @param {string[]} names */
  add(...names) {
    for (const name of names) {
      const place = join(this.#modules, name);
      mkdirSync(dirname(place), { recursive: true });
      symlinkSync(join(ROOT, 'node_modules', name), place);
    }
  }

  /** @param {string} name */
  read(name) {
    return readFileSync(join(this.folder, name), 'utf8');
  }

  /** @param {string} name @param {string} text */
  write(name, text) {
    writeFileSync(join(this.folder, name), text);
  }

  /**
   * Runs a program in the folder, and returns its output. Throws all of the output if the program fails.
   * @param {string} program
   * @param {string[]} words
   * @param {Record<string, string>} [variables]
   */
  run(program, words, variables = {}) {
    // With NODE_TEST_CONTEXT, a test runner of Node within a test would succeed whatever its tests do.
    const { NODE_TEST_CONTEXT: _, ...environment } = process.env;
    try {
      return execFileSync(program, words, { cwd: this.folder, encoding: 'utf8', env: { ...environment, ...variables }, stdio: 'pipe' });
    } catch (error) {
      const { stdout, stderr } = /** @type {{ stdout: string, stderr: string }} */ (error);
      throw new Error(`${program} ${words.join(' ')} failed:\n${stdout}${stderr}`);
    }
  }

  /** Runs Node. @param {string[]} words @param {Record<string, string>} [variables] */
  node(words, variables) {
    return this.run(process.execPath, words, variables);
  }

  /** Runs the program of a development dependency. @param {string} path below `node_modules` @param {string[]} words */
  tool(path, words, variables = {}) {
    return this.node([join(ROOT, 'node_modules', path), ...words], variables);
  }
}
