// The page of a user's sessions. Without this script it works too, and shows the state of when it was loaded.

import { parse, stay } from './forms.js';
import { keep, noteExpiry, refresh } from './session.js';

const REFRESH_INTERVAL = 30_000;

/** @param {string} id @param {Document} [page] */
const find = (id, page = document) => page.getElementById(id);
const view = find('main')?.dataset.view;
let isLeaving = false;

// A page that the browser kept for the back button may be of a session that has ended.
addEventListener('pageshow', ({ persisted }) => persisted && location.reload());

if (view === 'resume') resume();
if (view === 'account') account();

function resume() {
  refresh().then(
    (goesOn) => (goesOn ? location.reload() : location.replace(`${find('main')?.dataset.area}?ended`)),
    () => {},
  );
}

function account() {
  let current = Date.now();
  noteExpiry(Number(find('main')?.dataset.expiresIn));
  if (location.search) history.replaceState(null, '', '/account');
  keep(ended);
  stay(show, () => connection('stale'));
  document.addEventListener('submit', ({ target }) => {
    isLeaving ||= !('stay' in /** @type {HTMLElement} */ (target).dataset);
  });
  addEventListener('online', update);
  addEventListener('offline', () => connection('offline'));
  document.addEventListener('visibilitychange', update);
  setInterval(update, REFRESH_INTERVAL);

  /** Shows that the session has ended, and nothing of it. */
  function ended() {
    if (isLeaving) return;
    isLeaving = true;
    find('main')?.replaceChildren();
    location.replace('/account?ended');
  }

  /** @param {'offline' | 'stale' | 'good'} state */
  function connection(state) {
    const line = find('connection');
    if (!line) return;
    line.hidden = state === 'good';
    const since = new Intl.DateTimeFormat(undefined, { timeStyle: 'short' }).format(current);
    if (state === 'offline') line.textContent = line.dataset.offline ?? '';
    if (state === 'stale') line.textContent = `${line.dataset.stale} ${since}.`;
  }

  async function update() {
    if (document.visibilityState === 'hidden' || isLeaving) return;
    if (!navigator.onLine) return connection('offline');
    try {
      const response = await fetch('/account', { headers: { accept: 'text/html' } });
      const page = parse(await response.text());
      if (response.status >= 500) return connection('stale');
      if (find('main', page)?.dataset.view === 'account') sessions(page);
      else if (!(await refresh())) return ended();
      current = Date.now();
      connection('good');
    } catch {
      connection('stale');
    }
  }

  /** Shows the answer to a form. @param {Document} page */
  function show(page) {
    const kind = find('main', page)?.dataset.view;
    if (kind === 'resume') return void refresh().then((goesOn) => (goesOn ? update() : ended()));
    if (kind !== 'account') return ended();
    const isDone = !page.querySelector('[role=alert]');
    sessions(page);
    find('notices')?.replaceChildren(...(find('notices', page)?.childNodes ?? []));
    if (isDone) {
      for (const details of document.querySelectorAll('details')) details.open = false;
      for (const input of document.querySelectorAll('input')) if (input.type === 'password') input.value = '';
      // The button that was used may be gone.
      if (!document.activeElement || document.activeElement === document.body) find('title')?.focus();
    } else {
      /** @type {HTMLElement | null} */ (document.querySelector('details[open] input[type=password]'))?.focus();
    }
    current = Date.now();
    connection('good');
  }

  /** Replaces the list of sessions. Those that have ended stay visible, marked, until the page is left. @param {Document} page */
  function sessions(page) {
    const [old, fresh] = [find('sessions'), find('sessions', page)];
    if (!old || !fresh) return;
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.closest('#sessions [data-session]');
    const key = focused instanceof HTMLElement ? focused.dataset.session : undefined;
    const list = fresh.querySelector('ul');
    const ids = new Set([...fresh.querySelectorAll('[data-session]')].map((row) => row.getAttribute('data-session')));
    for (const row of old.querySelectorAll('[data-session]')) {
      if (ids.has(row.getAttribute('data-session'))) continue;
      row.classList.add('ended');
      row.querySelector('form')?.remove();
      if (!row.querySelector('.pill')) {
        const pill = Object.assign(document.createElement('span'), { className: 'pill bad', textContent: old.dataset.ended });
        row.querySelector('.what p')?.append(' ', pill);
      }
      list?.append(row);
    }
    old.replaceChildren(...fresh.childNodes);
    // Its parts change with the number of sessions.
    const others = document.querySelector('.actions > form');
    if (others && !page.querySelector('.actions > form')) others.remove();
    else if (!others) document.querySelector('.actions')?.prepend(...page.querySelectorAll('.actions > form'));
    if (key !== undefined) {
      const row = [...old.querySelectorAll('[data-session]')].find((row) => row.getAttribute('data-session') === key);
      const button = row?.querySelector('button') ?? find('title');
      button?.focus();
    }
  }
}
