/** The figures of a blocklist for Prometheus, by prom-client. They have the names that a node's own have. */

import { Counter, Gauge, register as globalRegister } from 'prom-client';

/**
 * Adds the figures of a blocklist to a register. They are read at each scrape.
 * @param {import('./blocklist.js').Blocklist} blocklist
 * @param {import('prom-client').Registry} [register] the global one by default
 */
export function collect(blocklist, register = globalRegister) {
  const registers = [register];
  /** @param {string} name @param {string} help @param {(status: import('./blocklist-base.js').Status) => number} value */
  const gauge = (name, help, value) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value(blocklist.status()));
      },
    });
  /** @param {string} name @param {string} help @param {(status: import('./blocklist-base.js').Status) => number} value */
  const counter = (name, help, value) =>
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(value(blocklist.status()));
      },
    });
  gauge('adieu_index_staleness_seconds', 'Time since the index was known to be complete', ({ staleness }) => staleness / 1000);
  gauge('adieu_index_max_staleness_seconds', 'Maximum staleness of the index', ({ maxStaleness }) => maxStaleness / 1000);
  gauge('adieu_index_entries', 'Revocations in memory', ({ revocations }) => revocations);
  counter('adieu_rejected_while_stale_total', 'Tokens rejected because the index was too stale', ({ staleRefusals }) => staleRefusals);
  counter('adieu_accepted_while_stale_total', 'Tokens accepted although the index was too stale', ({ staleAcceptances }) => staleAcceptances);
}
