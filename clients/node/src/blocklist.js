import { BlocklistBase } from './blocklist-base.js';
import { filesOf } from './certificates.js';
import { Connection } from './connection.js';
import { fromEnvironment } from './environment.js';
import { transportFor } from './exchange.js';
import { MemoryNode } from './memory-node.js';
import { IN_MEMORY, settingsOf } from './settings.js';
import { tokenIdOf } from './token-id.js';

/** @typedef {import('./settings.js').Options & import('./certificates.js').Files} Options */

/** Follows an Adieu node in the background. What it guarantees: {@link BlocklistBase}. */
export class Blocklist extends BlocklistBase {
  #files;

  /**
   * @param {Options} [options]
   * @throws {import('./errors.js').UsageError} when one is missing or invalid
   */
  constructor(options = {}) {
    const settings = settingsOf(options, fromEnvironment);
    const { url, clientId, secret } = settings;
    const files = filesOf(options);
    /** @param {URL} base */
    const transport = (base) => transportFor(base, files);
    const connection = url === IN_MEMORY ? new MemoryNode() : new Connection(url, clientId, secret, transport);
    super(settings, { connection, follows: true, tokenIdOf });
    this.#files = files;
  }

  /** The files of TLS connections to the node. */
  get files() {
    return this.#files;
  }

  /**
   * Resolves with a blocklist without a server, for an application's own tests: the same rules, in this object alone. `ADIEU_URL=memory:`
   * does the same.
   * @param {Omit<Options, 'url' | 'clientId' | 'secret'>} [options]
   * @returns {Promise<Blocklist>}
   */
  static async inMemory(options = {}) {
    const blocklist = new Blocklist({ ...options, url: IN_MEMORY });
    await blocklist.ready();
    return blocklist;
  }
}
