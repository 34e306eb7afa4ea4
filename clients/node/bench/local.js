/**
 * Measures the memory and the speed of the index, beside maps that are filled from JSON, without a node: `npm run bench`.
 *
 * Each is measured in processes of its own, in turns; the table has the medians. Times are of the processor, which a busy machine affects
 * little.
 */

import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as breathe } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { Page } from '../src/page.js';
import { Revocations } from '../src/revocations.js';
import { Oracle } from '../test/support/oracle.js';
import { writePage } from '../src/page-writer.js';

const LIVE = 1_000_000;
const PAGE = 8192;
const CHECKS = 1_000_000;
const WARM = 1024;
const NOW = 1_800_000_000;
const TURNS = 3;

const [, , which, folder] = /** @type {[string, string, string | undefined, string]} */ (/** @type {unknown} */ (process.argv));
const pages = Math.ceil(LIVE / PAGE);

const cpu = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const collect = /** @type {() => void} */ (globalThis.gc);

if (which === undefined) compare();
else console.log(JSON.stringify(await measure()));

function compare() {
  const data = mkdtempSync(join(tmpdir(), 'adieu-bench-'));
  try {
    for (let page = 0; page < pages; page += 1) {
      const entries = Array.from({ length: Math.min(PAGE, LIVE - page * PAGE) }, (_, at) => ({
        issuer: 'adieu',
        kind: /** @type {'token' | 'session'} */ (at % 2 ? 'token' : 'session'),
        id: randomUUID(),
        issuedUntil: 0,
        lapsesAt: NOW + 120 + Math.floor((page / pages) * 900),
      }));
      writeFileSync(join(data, `${page}.index`), writePage(entries));
      const json = entries.map(({ issuer, kind, id, lapsesAt }) => ({ issuer, kind, id, lapses_at: lapsesAt }));
      writeFileSync(join(data, `${page}.maps`), JSON.stringify({ entries: json }));
    }
    /** @type {Record<string, Record<string, number>[]>} */
    const turns = { maps: [], index: [] };
    for (let turn = 0; turn < TURNS; turn += 1) {
      for (const one of ['maps', 'index']) {
        const output = execFileSync(process.execPath, ['--expose-gc', fileURLToPath(import.meta.url), one, data], { encoding: 'utf8' });
        turns[one]?.push(JSON.parse(output));
      }
    }
    console.log(`| ${LIVE.toLocaleString('en')} revocations | maps, JSON | this index, binary | ratio |\n|---|---|---|---|`);
    for (const name of Object.keys(turns.index?.[0] ?? {})) {
      const [before, after] = ['maps', 'index'].map((one) => median(/** @type {any} */ (turns[one]).map((/** @type {any} */ each) => each[name])));
      console.log(`| ${name} | ${format(before)} | ${format(after)} | ${(after / before).toFixed(2)} |`);
    }
  } finally {
    rmSync(data, { recursive: true });
  }
}

async function measure() {
  collect();
  const empty = process.memoryUsage();
  const revocations = which === 'index' ? new Revocations() : new Oracle();
  let longest = 0;
  let began = cpu();
  let from = performance.now();
  const step = async () => {
    longest = Math.max(longest, performance.now() - from);
    await breathe();
    from = performance.now();
  };
  for (let number = 0; number < pages; number += 1) {
    const bytes = readFileSync(join(folder, `${number}.${which}`));
    if (revocations instanceof Revocations) {
      const page = new Page(bytes);
      while (!page.readSome(128, revocations)) if (performance.now() - from >= 2) await step();
    } else {
      for (const { issuer, kind, id, lapses_at: lapsesAt } of JSON.parse(bytes.toString()).entries) {
        revocations.add({ issuer, kind, id, issuedUntil: 0, lapsesAt });
      }
    }
    await step();
  }
  const loading = cpu() - began;
  const longestLoading = longest;
  collect();
  const memory = process.memoryUsage();
  const tables = revocations instanceof Revocations ? revocations.bytes : memory.heapUsed - empty.heapUsed;

  const cold = timed(CHECKS, () => facts(), (token) => revocations.check(token));
  const few = Array.from({ length: WARM }, facts);
  const warm = timed(CHECKS, (at) => /** @type {Facts} */ (few[at % WARM]), (token) => revocations.check(token));

  revocations.raisePrunedThrough(NOW + 5000);
  longest = 0;
  for (let done = false; !done; ) {
    began = performance.now();
    done = revocations.forgetSome();
    longest = Math.max(longest, performance.now() - began);
  }
  return {
    'memory of the tables, bytes each': tables / LIVE,
    'memory of the process, bytes each': (memory.rss - empty.rss) / LIVE,
    'reading and applying all pages, ms': loading,
    'the longest step of that, ms': longestLoading,
    'a check of a live token, cold, ns': cold,
    'a check of a live token, warm, ns': warm,
    'removing all: the longest step, ms': longest,
  };
}

/** @typedef {import('../src/revocations.js').Facts} Facts */

/**
 * Returns nanoseconds a check. The tokens are made in batches that are not timed.
 * @param {number} checks
 * @param {(at: number) => Facts} make
 * @param {(token: Facts) => unknown} check
 */
function timed(checks, make, check) {
  let took = 0;
  const batch = 4096;
  for (let first = 0; first < checks; first += batch) {
    const tokens = Array.from({ length: batch }, (_, at) => make(first + at));
    const began = cpu();
    for (const token of tokens) if (check(token) !== undefined) throw new Error('a random id is not revoked');
    took += cpu() - began;
  }
  return (took / checks) * 1e6;
}

/** A live token, in the form in which `JSON.parse` returns its claims. @returns {Facts} */
function facts() {
  const token = { issuer: 'adieu', tokenId: randomUUID(), session: randomUUID(), subject: randomUUID(), issuedAt: NOW, expiresAt: NOW + 900 };
  return JSON.parse(JSON.stringify(token));
}

/** @param {number[]} values */
function median(values) {
  return /** @type {number} */ (values.sort((a, b) => a - b)[values.length >> 1]);
}

/** @param {number} value */
function format(value) {
  return value < 100 ? value.toFixed(1) : value.toFixed(0);
}
