/** The figures of a blocklist for Prometheus, by prom-client. */

import { Counter, Gauge, register as globalRegister } from 'prom-client';

import { FIGURES } from './figures.js';

/**
 * Adds the figures of a blocklist to a register. They are read at each scrape.
 * @param {import('./blocklist-base.js').BlocklistBase} blocklist
 * @param {import('prom-client').Registry} [register] the global one by default
 */
export function collect(blocklist, register = globalRegister) {
  const registers = [register];
  for (const { name: figure, kind, unit, help, value } of FIGURES) {
    const name = `adieu_${figure.replaceAll('.', '_')}${unit === 's' ? '_seconds' : ''}`;
    if (kind === 'gauge') {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(value(blocklist.status()));
        },
      });
    } else {
      new Counter({
        name: `${name}_total`,
        help,
        registers,
        collect() {
          this.reset();
          this.inc(value(blocklist.status()));
        },
      });
    }
  }
}
