// A page that stays true: it renews itself from its own HTML, says when it cannot, and shows nothing of a session that has ended.

import { parse } from './forms.js';
import { keep, noteExpiry, refresh } from './session.js';

/** @param {string} id @param {Document} [page] */
export const find = (id, page = document) => page.getElementById(id);

// A page that the browser kept for the back button may be of a session that has ended.
addEventListener('pageshow', ({ persisted }) => persisted && location.reload());

/**
 * Keeps the session of a page, and shows nothing of it once it has ended. Call `leaving` before the page is left on purpose.
 * @param {string} path of the area
 */
export function session(path) {
  let isLeaving = false;
  noteExpiry(Number(find('main')?.dataset.expiresIn));
  keep(ended);
  function ended() {
    if (isLeaving) return;
    isLeaving = true;
    find('main')?.replaceChildren();
    location.replace(`${path}?ended`);
  }
  return { ended, isLeaving: () => isLeaving, leaving: () => void (isLeaving = true) };
}

/**
 * Renews a page at intervals, and when it comes to the front.
 * @param {ReturnType<typeof session>} session
 * @param {{ path: string, interval: number, show: (page: Document) => boolean }} options `show` resolves with whether it was this page
 */
export function renew({ ended, isLeaving }, { path, interval, show }) {
  let current = Date.now();
  addEventListener('online', update);
  addEventListener('offline', () => connection('offline'));
  document.addEventListener('visibilitychange', update);
  setInterval(update, interval);

  /** @param {'offline' | 'stale' | 'good'} state */
  function connection(state) {
    if (state === 'good') current = Date.now();
    const line = find('connection');
    if (!line) return;
    line.hidden = state === 'good';
    const since = new Intl.DateTimeFormat(undefined, { timeStyle: 'short' }).format(current);
    if (state === 'offline') line.textContent = line.dataset.offline ?? '';
    if (state === 'stale') line.textContent = `${line.dataset.stale} ${since}.`;
  }

  async function update() {
    if (document.visibilityState === 'hidden' || isLeaving()) return;
    if (!navigator.onLine) return connection('offline');
    try {
      const response = await fetch(path, { headers: { accept: 'text/html' } });
      const page = parse(await response.text());
      if (response.status >= 500) return connection('stale');
      if (!show(page) && !(await refresh())) return ended();
      connection('good');
    } catch {
      connection('stale');
    }
  }

  return { update, connection };
}
