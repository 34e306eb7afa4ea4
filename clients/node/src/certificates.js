/** The files of TLS connections. */

import { X509Certificate, createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { createSecureContext } from 'node:tls';

import { UsageError } from './errors.js';

/** A private key in PEM, without a certificate before or after it: Deno reads no other form. */
const PRIVATE_KEY = /-----BEGIN ([A-Z ]*PRIVATE KEY)-----[^]*?-----END \1-----/;

/**
 * @typedef {object} Files
 * @property {string} [caFile] for https: a file with the only certificate authorities to trust, in PEM; by default, those of Node
 * @property {string} [certificateFile] for https: a file with the certificate of this client and its private key, in PEM, for a node with
 *   `tls_client_ca`. Both files are read again for each connection, so that a renewed certificate needs no restart
 */

/**
 * Returns the files of the settings.
 * @param {Files} options
 * @returns {Files}
 * @throws {UsageError} when one cannot be used
 */
export function filesOf({ caFile, certificateFile }) {
  for (const [name, file] of Object.entries({ caFile, certificateFile })) {
    if (file !== undefined && typeof file !== 'string') throw new UsageError(`${name}: must be the name of a file`);
  }
  /** @type {Files} */
  const files = { ...(caFile === undefined ? {} : { caFile }), ...(certificateFile === undefined ? {} : { certificateFile }) };
  try {
    const content = contentOf(files);
    if (content.cert || content.ca) createSecureContext(content);
    // Node ignores a file of authorities that has none.
    if (content.ca) new X509Certificate(content.ca);
    // Deno accepts a certificate without its private key, or with another one.
    if (content.cert) {
      const key = createPrivateKey(PRIVATE_KEY.exec(String(content.key))?.[0] ?? '');
      if (!new X509Certificate(content.cert).checkPrivateKey(key)) throw new Error('the private key is not that of the certificate');
    }
  } catch (cause) {
    throw new UsageError(`caFile, certificateFile: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
  return files;
}

/** Keeps connections open, and reads the files for each new one. */
export class CertifiedAgent extends https.Agent {
  #files;

  /** @param {Files} files */
  constructor(files) {
    // A resumed connection would have the certificate of the first one.
    super({ keepAlive: true, maxCachedSessions: 0 });
    this.#files = files;
  }

  /**
   * @override
   * @param {https.RequestOptions} options
   * @param {(error: Error | null, stream: import('node:stream').Duplex) => void} [callback]
   */
  createConnection(options, callback) {
    /** @type {ReturnType<typeof contentOf>} */
    let content;
    try {
      content = contentOf(this.#files);
    } catch (error) {
      // A file may be missing while it is renewed: the node is out of reach until then.
      callback?.(/** @type {Error} */ (error), /** @type {any} */ (undefined));
      return undefined;
    }
    return super.createConnection({ ...options, ...content }, callback);
  }
}

/**
 * Returns the options of a connection with these files. Throws an error of the file system if one cannot be read.
 * @param {Files} files
 */
function contentOf({ caFile, certificateFile }) {
  const identity = certificateFile === undefined ? undefined : readFileSync(certificateFile);
  return {
    ...(caFile === undefined ? {} : { ca: readFileSync(caFile) }),
    ...(identity ? { cert: identity, key: identity } : {}),
  };
}
