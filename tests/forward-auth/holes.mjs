/**
 * Shows that the questions find the holes that the examples close: `node --test tests/forward-auth/holes.mjs`. For each of them, it changes the
 * lines that close it in the example, and asks the question, which must then have the answer no.
 */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { OUTAGES } from './outages.mjs';
import { outagePlaceOf, placeOf } from './places.mjs';
import { QUESTIONS } from './questions.mjs';

/**
 * `lines` is a regular expression for what is changed, and `instead` what takes its place; nothing, if it is missing.
 * @type {{ proxy: string, name: string, group: string, question: string, lines: string, instead?: string }[]}
 */
const HOLES = JSON.parse(readFileSync(new URL('holes.json', import.meta.url), 'utf8'));

for (const { proxy, name, group, question, lines, instead = '' } of HOLES) {
  test(`${proxy}: ${name}`, async (t) => {
    let changed = false;
    const change = (/** @type {string} */ text) => {
      const after = text.replace(new RegExp(lines, 'g'), instead);
      changed ||= after !== text;
      return after;
    };
    /** @type {() => Promise<void>} */
    let ask;
    if (group === 'Outage') {
      const place = await outagePlaceOf(t, proxy, change);
      ask = async () => OUTAGES[question]?.(place);
    } else {
      const place = await placeOf(t, proxy, change);
      ask = async () => QUESTIONS[group]?.[question]?.(place);
    }
    assert.ok(changed, 'the example has such lines');
    await assert.rejects(ask, { name: 'AssertionError' });
  });
}
