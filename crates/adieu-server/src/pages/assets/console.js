// The console. Without this script it works too, and shows the state of when it was loaded.

import { parse } from './forms.js';
import { find, renew, session } from './live.js';

const INTERVAL = 2_000;
/** How long the plots look back, in seconds. */
const WINDOW = 300;
/** How often it is asked where a revocation holds. */
const PROGRESS_INTERVAL = 250;
/** After this time without a key or a click the administrator is logged out. */
const IDLE = 30 * 60_000;

const own = session('/console');
const query = new URLSearchParams(location.search);
if (query.has('done') || query.has('in')) {
  query.delete('done');
  query.delete('at');
  query.delete('in');
  history.replaceState(null, '', `${location.pathname}${query.size ? `?${query}` : ''}`);
}
/** @type {HTMLElement | null} */ (document.querySelector('.confirm :is(input:not([type=hidden], [hidden]), button)'))?.focus();

for (const form of document.querySelectorAll('.confirm form[method=post]')) {
  // The answer comes at once, and the page shows where the revocation holds.
  form.append(Object.assign(document.createElement('input'), { type: 'hidden', name: 'progress', value: '1' }));
}
if (find('progress')) progress();

/** Shows where a revocation holds, until it holds everywhere. */
async function progress() {
  const url = find('progress')?.dataset.url ?? '';
  const load = async (/** @type {string} */ more) => parse(await (await fetch(`${url}${more}`, { headers: { accept: 'text/html' } })).text());
  /** @param {Document} page */
  function show(page) {
    const [text, renewed] = [find('progress-text'), find('progress-text', page)];
    // Without it, the session has ended.
    if (!text || !renewed) return;
    // What has not changed is not read out again.
    if (text.textContent !== renewed.textContent) text.textContent = renewed.textContent;
    for (const part of ['progress', 'ul']) document.querySelector(`#progress ${part}`)?.replaceWith(/** @type {Node} */ (page.querySelector(`#progress ${part}`)));
    const problem = find('problem', page);
    if (problem) find('notices')?.append(problem);
  }
  const pause = () => new Promise((resolve) => setTimeout(resolve, PROGRESS_INTERVAL));
  let isOver = false;
  async function end() {
    while (!isOver) {
      // A lost request is sent again.
      const page = await load('&wait=everywhere').catch(pause);
      if (!page) continue;
      isOver = true;
      show(/** @type {Document} */ (page));
    }
  }
  const ended = end();
  while (!isOver) {
    await Promise.race([ended, pause()]);
    const page = isOver ? undefined : await load('').catch(() => undefined);
    if (page && !isOver) show(page);
  }
}

document.addEventListener('submit', (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  if (form.method !== 'post') return;
  // A second click would change the same thing again.
  if (form.ariaBusy === 'true') return event.preventDefault();
  form.ariaBusy = 'true';
  own.leaving();
});

/** When this browser was last used in any tab of the console. */
const ACTIVE = 'adieu-active';
const active = () => localStorage.setItem(ACTIVE, `${Date.now()}`);
active();
for (const event of ['keydown', 'pointerdown']) addEventListener(event, active);
setInterval(() => {
  if (Date.now() - Number(localStorage.getItem(ACTIVE)) < IDLE || own.isLeaving()) return;
  /** @type {HTMLFormElement | null} */ (find('leave'))?.requestSubmit();
}, 10_000);

if (find('tiles')) overview();

function overview() {
  const plots = draw();
  plots.add(sample());
  renew(own, { path: '/console', interval: INTERVAL, show });

  /** @param {Document} page */
  function show(page) {
    const tiles = find('tiles');
    const renewed = find('tiles', page);
    if (!tiles || !renewed) return false;
    for (const id of ['warnings', 'live']) find(id)?.replaceChildren(...(find(id, page)?.childNodes ?? []));
    tiles.dataset.sample = renewed.dataset.sample;
    tiles.replaceChildren(...renewed.childNodes);
    for (const part of ['#parties tbody', 'dl']) document.querySelector(part)?.replaceWith(/** @type {Node} */ (page.querySelector(part)));
    const live = find('live');
    live?.prepend(`${live.dataset.live} · `);
    plots.add(sample());
    return true;
  }
}

/**
 * The figures in the page.
 * @returns {{ logouts: number, rejected: number, bound: number, staleness: [string, number | null][] }}
 */
function sample() {
  return JSON.parse(find('tiles')?.dataset.sample ?? '{}');
}

/** Draws the plots, and the rates in the tiles, which need two samples. */
function draw() {
  const uPlot = /** @type {any} */ (globalThis).uPlot;
  const style = getComputedStyle(document.documentElement);
  const colour = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`).trim();
  const palette = ['accent', 'ok', 'warn', 'dim'];
  /** @type {number[]} */
  const times = [];
  const rates = { logouts: /** @type {(number | null)[]} */ ([]), rejected: /** @type {(number | null)[]} */ ([]) };
  /** @type {Map<string, (number | null)[]>} */
  const stalenesses = new Map();
  /** @type {ReturnType<typeof sample> | undefined} */
  let last;
  let bound = 0;
  /** @type {any} */
  let freshness;
  /** @type {any} */
  let perSecond;

  const clock = (/** @type {number} */ seconds) => new Date(seconds * 1000).toLocaleTimeString(document.documentElement.lang, { timeStyle: 'medium', hour12: false });
  const axes = () => [
    { stroke: colour('dim'), grid: { show: false }, ticks: { show: false }, space: 70, values: (/** @type {any} */ _, /** @type {number[]} */ marks) => marks.map(clock) },
    { stroke: colour('dim'), grid: { stroke: colour('line'), width: 1 }, ticks: { show: false }, size: 44 },
  ];
  /** @param {string} id @param {any[]} series @param {(maximum: number) => number} top @param {any} [hooks] */
  function plot(id, series, top, hooks) {
    const place = find(id);
    place?.closest('section')?.removeAttribute('hidden');
    const options = {
      width: Math.max(place?.clientWidth ?? 0, 200), height: 200, axes: axes(), hooks, cursor: { show: false }, legend: { live: false },
      scales: { x: { time: true, range: (/** @type {any} */ _, /** @type {number} */ first, /** @type {number} */ newest) => [Math.min(first, newest - 60), newest] }, y: { range: (/** @type {any} */ _, /** @type {number} */ __, /** @type {number} */ maximum) => [0, top(maximum ?? 0)] } },
      series: [{}, ...series],
    };
    place?.replaceChildren();
    return new uPlot(options, undefined, place);
  }
  addEventListener('resize', () => {
    for (const [id, drawn] of [['freshness', freshness], ['rates', perSecond]]) {
      drawn?.setSize({ width: Math.max(find(id)?.clientWidth ?? 0, 200), height: 200 });
    }
  });
  // Colours of the other scheme.
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    freshness = perSecond = undefined;
    redraw();
  });

  function redraw() {
    if (!uPlot || times.length < 2) return;
    const names = [...stalenesses.keys()];
    if (freshness?.series.length !== names.length + 1) {
      const bad = (/** @type {string} */ name) => (stalenesses.get(name)?.at(-1) ?? 0) > bound;
      const line = (/** @type {string} */ name, /** @type {number} */ index) => ({
        label: name, width: 2, points: { show: false }, value: (/** @type {any} */ _, /** @type {number | null} */ value) => value?.toFixed(2) ?? '–',
        stroke: () => colour(bad(name) ? 'bad' : /** @type {string} */ (palette[index % palette.length])),
      });
      const mark = (/** @type {any} */ drawn) => {
        const y = drawn.valToPos(bound, 'y', true);
        Object.assign(drawn.ctx, { strokeStyle: colour('bad'), lineWidth: devicePixelRatio });
        drawn.ctx.setLineDash([6, 4]);
        drawn.ctx.beginPath();
        drawn.ctx.moveTo(drawn.bbox.left, y);
        drawn.ctx.lineTo(drawn.bbox.left + drawn.bbox.width, y);
        drawn.ctx.stroke();
        drawn.ctx.setLineDash([]);
      };
      freshness?.destroy();
      freshness = plot('freshness', names.map(line), (maximum) => Math.max(maximum, bound) * 1.15, { drawAxes: [mark] });
    }
    if (!perSecond) {
      const { logouts = '', rejected = '' } = find('rates')?.dataset ?? {};
      const line = (/** @type {string} */ label, /** @type {string} */ name) => ({ label, width: 2, stroke: colour(name), points: { show: false } });
      perSecond = plot('rates', [line(logouts, 'accent'), line(rejected, 'warn')], (maximum) => Math.max(maximum * 1.15, 1));
    }
    freshness.setData([times, ...stalenesses.values()]);
    perSecond.setData([times, rates.logouts, rates.rejected]);
  }

  return {
    /** @param {ReturnType<typeof sample>} taken */
    add(taken) {
      const now = Date.now() / 1000;
      const passed = now - (times.at(-1) ?? now);
      for (const name of /** @type {const} */ (['logouts', 'rejected'])) {
        // After a restart of the server it counts from zero.
        const rate = last && passed > 0 ? Math.max(taken[name] - last[name], 0) / passed : null;
        rates[name].push(rate === null ? null : Math.round(rate * 10) / 10);
        const figure = document.querySelector(`[data-rate=${name}]`);
        const unit = /** @type {HTMLElement | null | undefined} */ (figure?.parentElement?.querySelector('small'));
        if (figure && unit && rate !== null) {
          figure.textContent = rate.toFixed(rate < 10 ? 1 : 0);
          unit.textContent = unit.dataset.unit ?? '';
        }
      }
      bound = taken.bound;
      const known = new Map(taken.staleness);
      for (const [name, seconds] of known) {
        if (!stalenesses.has(name) && seconds !== null) stalenesses.set(name, times.map(() => null));
      }
      for (const [name, values] of stalenesses) {
        // Since it is silent, its data has been getting older.
        const before = values.at(-1);
        const seconds = known.get(name) ?? (before === null || before === undefined ? null : before + passed);
        values.push(seconds);
      }
      times.push(now);
      last = taken;
      while ((times[0] ?? now) < now - WINDOW) for (const values of [times, rates.logouts, rates.rejected, ...stalenesses.values()]) values.shift();
      redraw();
    },
  };
}
