// The console. Without this script it works too, and shows the state of when it was loaded.

import { parse } from './forms.js';
import { keep, noteExpiry, refresh } from './session.js';

const INTERVAL = 2_000;
/** How long the plots look back, in seconds. */
const WINDOW = 300;
/** After this time without a key or a click the administrator is logged out. */
const IDLE = 30 * 60_000;

/** @param {string} id @param {Document} [page] */
const find = (id, page = document) => page.getElementById(id);
const main = find('main');
let isLeaving = false;
let current = Date.now();

// A page that the browser kept for the back button may be of a session that has ended.
addEventListener('pageshow', ({ persisted }) => persisted && location.reload());

noteExpiry(Number(main?.dataset.expiresIn));
const query = new URLSearchParams(location.search);
if (query.has('done') || query.has('in')) {
  query.delete('done');
  query.delete('in');
  history.replaceState(null, '', `${location.pathname}${query.size ? `?${query}` : ''}`);
}
keep(ended);
document.querySelector('.confirm :is(input:not([type=hidden], [hidden]), button)')?.scrollIntoView({ block: 'nearest' });
/** @type {HTMLElement | null} */ (document.querySelector('.confirm :is(input:not([type=hidden], [hidden]), button)'))?.focus();

document.addEventListener('submit', (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  if (form.method !== 'post') return;
  // A second click would change the same thing again.
  if (form.ariaBusy === 'true') return event.preventDefault();
  form.ariaBusy = 'true';
  isLeaving = true;
});

/** When this browser was last used in any tab of the console. */
const ACTIVE = 'adieu-active';
const active = () => localStorage.setItem(ACTIVE, `${Date.now()}`);
active();
for (const event of ['keydown', 'pointerdown']) addEventListener(event, active);
setInterval(() => {
  if (Date.now() - Number(localStorage.getItem(ACTIVE)) < IDLE || isLeaving) return;
  /** @type {HTMLFormElement | null} */ (find('leave'))?.requestSubmit();
}, 10_000);

/** Shows that the session has ended, and nothing of it. */
function ended() {
  if (isLeaving) return;
  isLeaving = true;
  main?.replaceChildren();
  location.replace('/console?ended');
}

if (find('tiles')) overview();

function overview() {
  addEventListener('online', update);
  addEventListener('offline', () => connection('offline'));
  document.addEventListener('visibilitychange', update);
  setInterval(update, INTERVAL);
  const plots = draw();
  plots.add(sample());

  async function update() {
    if (document.visibilityState === 'hidden' || isLeaving) return;
    if (!navigator.onLine) return connection('offline');
    try {
      const response = await fetch('/console', { headers: { accept: 'text/html' } });
      const page = parse(await response.text());
      if (response.status >= 500) return connection('stale');
      if (find('tiles', page)) show(page);
      else if (!(await refresh())) return ended();
      current = Date.now();
      connection('good');
    } catch {
      connection('stale');
    }
  }

  /** @param {Document} page */
  function show(page) {
    for (const id of ['warnings', 'live']) find(id)?.replaceChildren(...(find(id, page)?.childNodes ?? []));
    const tiles = find('tiles');
    if (tiles) tiles.dataset.sample = find('tiles', page)?.dataset.sample;
    tiles?.replaceChildren(...(find('tiles', page)?.childNodes ?? []));
    document.querySelector('#parties tbody')?.replaceWith(/** @type {Node} */ (page.querySelector('#parties tbody')));
    document.querySelector('dl')?.replaceWith(/** @type {Node} */ (page.querySelector('dl')));
    const live = find('live');
    live?.prepend(`${live.dataset.live} · `);
    plots.add(sample());
  }
}

/** @param {'offline' | 'stale' | 'good'} state */
function connection(state) {
  const line = find('connection');
  if (!line) return;
  line.hidden = state === 'good';
  const since = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' }).format(current);
  if (state === 'offline') line.textContent = line.dataset.offline ?? '';
  if (state === 'stale') line.textContent = `${line.dataset.stale} ${since}.`;
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
