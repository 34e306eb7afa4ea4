/** Settings in the environment of the process. */

import { readFileSync } from 'node:fs';

import { UsageError } from './errors.js';

const VARIABLES = { url: 'ADIEU_URL', clientId: 'ADIEU_CLIENT', secret: 'ADIEU_SECRET' };

/**
 * Returns a setting that was not given.
 * @type {import('./settings.js').Fallback}
 * @throws {UsageError} when it is not in the environment
 */
export function fromEnvironment(name) {
  const file = process.env.ADIEU_SECRET_FILE;
  if (name === 'secret' && file !== undefined) return readFileSync(file, 'utf8');
  const value = process.env[VARIABLES[name]];
  if (value === undefined) throw new UsageError(`${name}: must be given, or ${VARIABLES[name]} set`);
  return value;
}
