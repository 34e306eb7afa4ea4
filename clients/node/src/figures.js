/** The figures of a blocklist for metrics. They have the names that a node's own have. */

/** @typedef {import('./blocklist-base.js').Status} Status */
/** @typedef {{ name: string, kind: 'gauge' | 'counter', unit: '' | 's', help: string, value: (status: Status) => number }} Figure */

/** @type {readonly Figure[]} */
export const FIGURES = [
  {
    name: 'index.staleness',
    kind: 'gauge',
    unit: 's',
    help: 'Time since the index was known to be complete',
    value: ({ staleness }) => staleness / 1000,
  },
  {
    name: 'index.max_staleness',
    kind: 'gauge',
    unit: 's',
    help: 'Maximum staleness of the index',
    value: ({ maxStaleness }) => maxStaleness / 1000,
  },
  { name: 'index.entries', kind: 'gauge', unit: '', help: 'Revocations in memory', value: ({ revocations }) => revocations },
  {
    name: 'rejected_while_stale',
    kind: 'counter',
    unit: '',
    help: 'Tokens rejected because the index was too stale',
    value: ({ staleRefusals }) => staleRefusals,
  },
  {
    name: 'accepted_while_stale',
    kind: 'counter',
    unit: '',
    help: 'Tokens accepted although the index was too stale',
    value: ({ staleAcceptances }) => staleAcceptances,
  },
];
