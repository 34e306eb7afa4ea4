/** The figures of a blocklist for OpenTelemetry. */

import { FIGURES } from './figures.js';

/**
 * The part of a `Meter` of `@opentelemetry/api` that is used.
 * @typedef {object} Meter
 * @property {(name: string, options: Options) => Instrument} createObservableGauge
 * @property {(name: string, options: Options) => Instrument} createObservableCounter
 */

/** @typedef {{ description: string, unit: string }} Options */
/** @typedef {{ addCallback(callback: (result: { observe(value: number): void }) => void): void }} Instrument */

/**
 * Adds the figures of a blocklist to a meter. They are read at each collection; the staleness is absent until the whole log has been read.
 * @param {import('./blocklist-base.js').BlocklistBase} blocklist
 * @param {Meter} meter such as `metrics.getMeter('adieu')`
 */
export function observe(blocklist, meter) {
  for (const { name, kind, unit, help, value } of FIGURES) {
    const create = kind === 'gauge' ? 'createObservableGauge' : 'createObservableCounter';
    meter[create](`adieu.${name}`, { description: help, unit }).addCallback((result) => {
      const number = value(blocklist.status());
      if (Number.isFinite(number)) result.observe(number);
    });
  }
}
